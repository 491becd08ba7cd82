"""Commands on data: which samples would be used, and how."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.api.file_requests import CheckData
from sdk.commands.options import add_options, request
from sdk.commands.output import progress_bar, show
from sdk.commands.parser import add_command, add_group


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    within = add_group(commands, "data", "look at images and labels before anything long begins")
    sub = add_command(
        within,
        "check",
        _check,
        "show which data would be used: samples, classes, what is left out and why, the preprocessing",
        "sdk data check images/ --for mobilenet.tflite --sheet sheet.png",
    )
    sub.add_argument("data", type=Path, help="folder of images, or .npz")
    add_options(sub, CheckData)


def _check(arguments: argparse.Namespace) -> None:
    from sdk.api.files.checking_data import check

    with progress_bar(arguments) as progress:
        result = check(arguments.data, request(CheckData, arguments), progress)
    show(arguments, result)
