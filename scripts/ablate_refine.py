"""What each part of the refiner is worth: train it without, beside its peers; a Markdown table.

Usage (tracks as in the head of ``configs/refine_small.yaml``)::

    python scripts/ablate_refine.py data/tracks data/scenes --held-out data/tracks_test
        -o runs/ablation --steps 600 [--seed 0] [--batch 64] [--device auto] [--rows full gru ...]

The rows of :data:`ROWS` are trained one after the other, each from the settings of ``--config``
with one thing changed, all with the same steps, seed and data: the refiner as it is; no fusion of
frames; mean squares in place of maxMSE (of the same errors they are smaller, so joints weigh more
by as much: by the ratio of both over what frames said of the held-out hands); no discriminator;
each hand by itself; shorter windows; and two recurrent nets of its size
(``hdrvideo/motion/recurrent.py``). The painter's memory is no part of the temporal stage and has no
row here.

Stop it and run the same line again: a row that is done is not trained again, one that was begun
goes on. ``OUT`` then holds for each row its settings (``ROW.yaml``), the run (``ROW/``), of which
``best.safetensors`` may be given to ``scripts/score_refine.py``, and its scores (``ROW.json``).
The table is printed, and written with ``--table FILE``.

Scores are those of ``hdrvideo.train.refine_scores`` on the held-out tracks, the weights those that
did best there in the row's own checks. Each track goes through its row's windows as
``annotate`` would have it (``hdrvideo/motion/windows.py``), but without the last smoothing, and all
rows are judged on the same frames, whatever their windows. The first two rows are no net: what
frames said, gaps filled; and its zero-phase smoothing. One-Euro stands in ``score_refine.py``'s
table.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from score_real import table

from hdrvideo.build import build_refiner, pick_device, refiner_form
from hdrvideo.checkpoint import read_note
from hdrvideo.config import read_yaml
from hdrvideo.errors import HdrVideoError, SettingsError, TrainingError
from hdrvideo.files import whole_file
from hdrvideo.handmodel import HandModel
from hdrvideo.motion.form import RefineForm
from hdrvideo.motion.refine import RefinedWindow
from hdrvideo.motion.states import StateReader, turns_of
from hdrvideo.motion.windows import WINDOW_FRAMES, Refiner
from hdrvideo.train.loop import LoopSettings
from hdrvideo.train.refine_losses import RefineWeights, joint_loss
from hdrvideo.train.refine_recipe import check_windows, studied
from hdrvideo.train.refine_scores import refine_scores
from hdrvideo.train.refine_windows import StudyTrack
from hdrvideo.train.state import BEST, LAST
from hdrvideo.training import train_net

Settings = dict[str, Any]
# What each row changes; windows of the usual length are those of ``full``.
ROWS: Final[dict[str, Settings]] = {
    "full": {},
    "no_fusion": {"net": {"no_fusion": True}},
    "mse": {"weights": {"joint_basis": "mse"}},
    "no_discriminator": {"weights": {"fooled": 0.0}},
    "one_hand": {"net": {"one_hand": True}},
    **{f"windows_{frames}": {"windows": {"frames": frames}} for frames in (5, 7, 9, 16)},
    "gru": {"net": {"kind": "gru"}},
    "tcmr": {"net": {"kind": "tcmr"}},
}
COLUMNS: Final = {
    "mpjpe_mm": "MPJPE, mm",
    "mpjpe_hidden_mm": "half hidden, MPJPE",
    "epe_palm_pct": "2D error, % of palm",
    "pck_pct": "PCK, %",
    "acceleration_mm": "acceleration error, mm/frame²",
    "way_mm": "way from hand to hand, mm",
    "sure_off_pct": "chance off by, %",
    "score": "score",
}
CONFIG: Final = Path(__file__).parents[1] / "configs" / "refine_small.yaml"


class HeldOut:
    """Held-out tracks, ready to be refined and judged."""

    def __init__(self, folder: str) -> None:
        """Read them.

        Raises:
            DataError: The folder is of no use.
        """
        self.model = HandModel()
        self._tracks = studied((folder,), "test", StateReader(self.model))
        self._batches = check_windows(self._tracks, WINDOW_FRAMES, self.model)

    def basis_ratio(self) -> float:
        """Give how much more maxMSE is than mean squares, over what frames said of hands."""
        lost = {"maxmse": 0.0, "mse": 0.0}
        for batch in self._batches:
            asked = (batch["true_weight"] > 0) & (batch["said_seen"] > 0)
            said_mm, true_mm = (
                self.model.joints(turns_of(batch[name][asked]))
                for name in ("said_state", "true_state")
            )
            for basis in lost:
                lost[basis] += float(joint_loss(said_mm, true_mm, basis).sum())
        return lost["maxmse"] / lost["mse"]

    def score(self, refiner: Refiner) -> dict[str, float]:
        """Refine whole tracks and score them."""
        windows = [w for track in self._tracks for w in refined(refiner, track)]
        said, start = [], 0
        for batch in self._batches:
            n = len(batch["said_seen"])
            states, sure = (torch.stack(v) for v in zip(*windows[start : start + n], strict=True))
            said.append(RefinedWindow(states, states, states, states, sure))
            start += n
        return refine_scores(said, self._batches, self.model)


def refined(refiner: Refiner, track: StudyTrack) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Refine a track and cut what is said as the truth is cut: states and log odds by hand."""
    state, sure = (values.transpose(0, 1) for values in refiner.refine_states(0, track.said))
    starts = range(0, len(track) - WINDOW_FRAMES + 1, WINDOW_FRAMES)
    return [tuple(v[:, a : a + WINDOW_FRAMES] for v in (state, sure)) for a in starts]


def row_settings(
    base: Settings, change: Settings, args: argparse.Namespace, basis_ratio: float
) -> Settings:
    """Give the settings of a row: those of the file, what the command line says, one change."""
    warmup_steps = base.get("loop", {}).get("warmup_steps", LoopSettings.warmup_steps)
    given: Settings = {
        "loop": {"steps": args.steps, "warmup_steps": min(warmup_steps, args.steps)},
        "data": {"tracks": args.tracks, "held_out": [args.held_out]},
    }
    settings = {**base, "seed": args.seed}
    if args.batch is not None:
        settings["batch"] = args.batch
    for part in (given, change):
        for group, values in part.items():
            settings[group] = {**settings.get(group, {}), **values}
    if change.get("weights", {}).get("joint_basis") == "mse":
        usual = base.get("weights", {}).get("joints", RefineWeights().joints)
        settings["weights"]["joints"] = round(usual * basis_ratio, 3)
    return settings


def note_settings(path: Path, settings: Settings) -> None:
    """Write a row's settings, or refuse to go on with others.

    Raises:
        SettingsError: The row was begun with other settings.
    """
    if not path.exists():
        text = yaml.safe_dump(settings, sort_keys=False)
        with whole_file(path, make_folder=True) as partial:
            partial.write_text(text, encoding="utf-8")
        return
    before = read_yaml(path)
    for name in sorted(set(before) | set(settings)):
        old, new = before.get(name), settings.get(name)
        if old != new:
            raise SettingsError(
                f"{name} is {new} and was {old} in {path}; give it as it was, or choose another -o"
            )


def run_row(out: Path, name: str, settings: Settings, held_out: HeldOut, device: str) -> Settings:
    """Train a row, unless it is done, and score it.

    Raises:
        TrainingError: It was stopped.
    """
    config, run, done = out / f"{name}.yaml", out / name, out / f"{name}.json"
    note_settings(config, settings)
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    train_net("refine", config, run, resume=(run / LAST).exists(), device=device)
    steps = read_note(run / LAST, "state")["step"]
    if steps < settings["loop"]["steps"]:
        raise TrainingError(f"{name} was stopped after step {steps}; run the same line to go on")
    refiner = build_refiner(pick_device(device), run / BEST, steady_seconds=0.0)
    form = refiner_form(run / BEST) or RefineForm()
    row = {
        "parameters": sum(p.numel() for p in form.make().parameters() if p.requires_grad),
        "steps": steps,
        "best_step": read_note(run / BEST, "step"),
        "scores": held_out.score(refiner),
    }
    text = json.dumps(row, indent=2) + "\n"
    with whole_file(done) as partial:
        partial.write_text(text, encoding="utf-8")
    return row


def as_table(rows: dict[str, Settings]) -> str:
    """Write the table; the rows that are no net come from the first one's scores."""
    first = next(iter(rows.values()))["scores"]
    lines = []
    for title, suffix in (("per frame", "_raw"), ("smoothed", "_smooth")):
        cells = [first.get(f"{name}{suffix}") for name in COLUMNS]
        lines.append([title, "–", "–", *("–" if c is None else f"{c:.2f}" for c in cells)])
    for name, row in rows.items():
        steps = f"{row['steps']} ({row['best_step']})"
        scores = [f"{row['scores'][column]:.2f}" for column in COLUMNS]
        lines.append([name, f"{row['parameters']}", steps, *scores])
    return table(["", "parameters", "steps (best)", *COLUMNS.values()], lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tracks", nargs="+", help="folders of practice tracks, split train")
    parser.add_argument("--held-out", required=True, help="a folder of them, split test")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="windows a step; as in --config if not given")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: dict[str, Settings] = {}
    try:
        base, held_out = read_yaml(args.config), HeldOut(args.held_out)
        ratio = held_out.basis_ratio()
        for name in args.rows:
            print(f"{name} ({len(rows) + 1} of {len(args.rows)})", flush=True)
            settings = row_settings(base, ROWS[name], args, ratio)
            rows[name] = run_row(args.out, name, settings, held_out, args.device)
    except HdrVideoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = as_table(rows)
    print(text)
    if args.table:
        args.table.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
