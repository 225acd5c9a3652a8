"""Package metadata, dependencies and the entry point; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
FAST = ["openvino>=2024.4"]
TEST = ["pytest>=8", "pycocotools>=2.0.7"]
CONVERT = ["ai-edge-litert>=1.2"]
TRAIN = ["transformers>=5.10.1", "tensorboard>=2.15"]

setup(
    name="hdrvideo",
    version="0.1.0",
    description="A hand video goes in; two steady 3D hands come out.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10",
    packages=find_packages(include=["hdrvideo", "hdrvideo.*"]),
    package_data={
        "hdrvideo": ["weights/*.safetensors", "weights/*.npz", "weights/*.md", "py.typed"]
    },
    install_requires=[
        "av>=14",
        "decord2>=3.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pyarrow>=15",
        "pyyaml>=6",
        "rich>=13",
        "safetensors>=0.4.3",
        "scipy>=1.11",
        "torch>=2.6,<2.14",
        "typer>=0.12",
    ],
    extras_require={
        "fast": FAST,
        "test": TEST,
        "compare": [*FAST, "mediapipe==0.10.14"],
        "convert": CONVERT,
        "train": TRAIN,
        "dev": [*FAST, *TEST, *CONVERT, *TRAIN, "ruff>=0.8", "mypy>=1.13"],
    },
    entry_points={"console_scripts": ["hdrvideo=hdrvideo.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
