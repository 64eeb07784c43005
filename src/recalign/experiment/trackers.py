"""Experiment trackers: Weights & Biases, Trackio, TensorBoard and MLflow, each as one small class.

Its package is imported when one is made. Keys and addresses are those of the trackers' own environment variables.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

PROJECT: Final = "recalign"


@dataclass(frozen=True, eq=False)
class Training:
    """What a tracker is told when a training begins. Two are never equal, whatever they are called.

    Attributes:
        name, group: Its name; that of the experiment, or of the command.
        settings: Of the stage, as JSON.
        folder: Where trackers that write files put them, unless their environment variables say otherwise.
    """

    name: str
    group: str
    settings: Mapping[str, object]
    folder: Path


class Tracker(Protocol):
    """One training at a tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show values at an optimizer step; steps do not decrease."""

    def close(self) -> None:
        """The training is over."""


class Wandb:
    """Weights & Biases. WANDB_API_KEY, WANDB_MODE (offline), WANDB_PROJECT and others are its own."""

    def __init__(self, training: Training) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # Neither what the terminal shows nor code and arguments go there. Nobody is asked for a key for long.
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True, login_timeout=10
        )
        training.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=training.name,
            group=training.group,
            config=dict(training.settings),
            dir=training.folder,
            reinit="create_new",
            settings=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class Trackio:
    """Trackio. TRACKIO_DIR says where it keeps its database, TRACKIO_SPACE_ID and others that it goes elsewhere."""

    def __init__(self, training: Training) -> None:
        import trackio

        settings = dict(training.settings)
        with redirect_stdout(io.StringIO()):  # it prints how to look at the run
            self._run = trackio.init(
                PROJECT,
                training.name,
                training.group,
                config=settings,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        with redirect_stdout(io.StringIO()):
            self._run.finish()


class TensorBoard:
    """TensorBoard: a folder for each training, with the time in its name."""

    def __init__(self, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter

        from recalign.experiment.run_directory import slug  # loads torch

        name = f"{slug(training.name)}-{datetime.now():%Y%m%d-%H%M%S}"
        self._writer = SummaryWriter(str(training.folder / "tensorboard" / slug(training.group) / name))
        self._writer.add_text("settings", f"```\n{json.dumps(training.settings, indent=1)}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class Mlflow:
    """MLflow. MLFLOW_TRACKING_URI names a server or database; without it there is a folder ``mlruns``."""

    def __init__(self, training: Training) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the folder, which needs no database package
        from mlflow.tracking import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI") or (training.folder / "mlruns").absolute().as_uri()
        self._client = MlflowClient(tracking_uri=place)
        named = self._client.get_experiment_by_name(PROJECT)
        experiment = self._client.create_experiment(PROJECT) if named is None else named.experiment_id
        run = self._client.create_run(experiment, run_name=training.name, tags={"group": training.group})
        self._run = run.info.run_id
        for name, value in _flat(training.settings):
            self._client.log_param(self._run, name, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run)


def _flat(settings: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Settings with the names that ``--set`` takes: ``optim.lr``."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


TRACKERS: Final[Mapping[str, tuple[str, Callable[[Training], Tracker]]]] = {
    "wandb": ("wandb", Wandb),
    "trackio": ("trackio", Trackio),
    "tensorboard": ("tensorboard", TensorBoard),
    "mlflow": ("mlflow", Mlflow),
}
