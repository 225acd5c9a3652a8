"""Runs of ``hdrvideo train``: settings files, the command, the tables of a run."""

import csv
from pathlib import Path

import yaml
from typer.testing import CliRunner

from hdrvideo.cli import app


def write_settings(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def run_train(net: str, *arguments: object):
    return CliRunner().invoke(app, ["train", net, "--device", "cpu", *map(str, arguments)])


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
