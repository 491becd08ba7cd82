"""Answers of a model on a board about pictures, as a program on the board gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.image import pictures
from sdk.api.board_requests import Predict
from sdk.api.boards.deploying import deployed_on, package_of
from sdk.api.values import PathLike
from sdk.deploy.agent.predictions import PredictAnswer
from sdk.errors import DataError
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import PredictOptions


@dataclass(frozen=True)
class Predicted(Shown):
    """The answers to some pictures, by the names of their files."""

    name: str
    board: str
    pictures: tuple[str, ...]
    answers: tuple[PredictAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        answers = [
            {"picture": picture, **answer.to_json()}
            for picture, answer in zip(self.pictures, self.answers, strict=True)
        ]
        return {"name": self.name, "board": self.board, "answers": answers}


def predict_on_board(
    board: str,
    source: PathLike,
    pictures: Sequence[PathLike],
    *,
    progress: Progress = silent,
    **options: Unpack[PredictOptions],
) -> Predicted:
    """Runs a package (or model) on the board and asks it about pictures, or ``.npy`` arrays that it takes as they are.

    Boxes and points are in pixels of each picture. ``options``: see :class:`sdk.api.board_requests.Predict`. Raises
    TypeError for others, DataError for a file that is not a picture.
    """
    request = build(Predict, options, function="predict_on_board")
    return predict(board, source, pictures, request, progress)


def predict(
    board: str,
    source: PathLike,
    pictures: Sequence[PathLike],
    request: Predict,
    progress: Progress = silent,
) -> Predicted:
    """As :func:`predict_on_board`, with the options as a record."""
    images = [_read(Path(picture)) for picture in pictures]
    name, package = package_of(source, progress, packing=request.packing)
    with deployed_on(board, source, (name, package), request, progress) as (session, _, _):
        answers = []
        for done, image in enumerate(images):
            progress("predict", done, len(images))
            answers.append(
                session.agent.predict(
                    name, image, top=request.top, threshold=request.threshold, kernel=session.kernel
                )
            )
    return Predicted(name, session.board.name, tuple(map(str, pictures)), tuple(answers))


def _read(path: Path) -> np.ndarray:
    """A picture as (height, width, 3) uint8, upright; or the array of an ``.npy`` file, of any shape."""
    if path.suffix == ".npy":
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is not an array", found=str(error)[:200]) from None
    try:
        return np.asarray(
            pictures.decode(read_file(path, "a picture"), max_pixels=pictures.MAX_PIXELS_ON_HOST)
        )
    except DataError as error:
        raise DataError(
            f"{path} cannot be decoded", expected=error.expected, found=error.found, hint=error.hint
        ) from None
