"""Each option of each request record: in the help of its verb, read as its type, refused in one clear line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from sdk.api import board_requests as boards
from sdk.api import file_requests as files
from sdk.api import release_requests as releases
from sdk.api.compress_request import Compress
from sdk.api.values import kept_releases, sizes
from sdk.cli import build_parser
from sdk.commands.options import add_options, keywords, request
from sdk.commands.parser import Parser, UsageError
from sdk.deploy.fleet.plan import Portion, RolloutPlan, portion
from sdk.deploy.target import Address, Target
from sdk.models.catalogue import ENTRIES
from sdk.tools import values
from sdk.tools.option import Option, build, flags_of, option, options_of, part, same
from tests.sdk.api import make_keywords
from tests.sdk.test_cli import help_of

FLEET = (releases.FromInventory, releases.FleetQuery, releases.FleetAnswer)
#: Each command with options of its own, and the records that it is asked with.
VERBS: dict[str, tuple[type, ...]] = {
    "convert": (files.Convert,),
    "compress": (Compress,),
    "pack": (files.Pack,),
    "unpack": (files.UnpackPackage,),
    "zoo": (files.WriteZoo, files.DescribeZoo),
    "tools install": (files.InstallTool,),
    "sign": (files.Sign,),
    "verify": (files.Verify,),
    "board fetch": (boards.FetchRuntimes,),
    "board probe": (Address,),
    "board add": (boards.AddBoard, Address),
    "board calibrate": (boards.Calibrate,),
    "board require-signatures": (Address,),
    "board doctor": (Target,),
    "deploy": (
        releases.Deploy,
        files.PackedOnTheWay,
        releases.DeployFleet,
        releases.AsService,
        releases.InstallService,
        *FLEET,
    ),
    "status": (Address, *FLEET),
    "releases": (Address,),
    "rollback": (releases.WayBack, Address, *FLEET),
    "confirm": (Address,),
    "service status": (Address,),
    "service start": (Address,),
    "service stop": (Address,),
    "service remove": (Address,),
    "bench": (boards.Bench, boards.SoakTime, boards.Soaking, boards.SuiteNetworks, boards.RunSuite),
    "tune": (boards.Tune,),
    "eval": (boards.Evaluate,),
    "predict": (boards.Predict, boards.PredictTime, files.ExportRun),
    "demo": (boards.Demo,),
    "report": (files.ShowRun,),
    "compare": (files.CompareRuns,),
    "export": (releases.Export,),
    "data check": (files.CheckData,),
}
#: How a value is read: what is right with what it becomes, and what is wrong (None: everything is right).
TEXTS: dict[Callable[[str], Any], tuple[str, Any, str | None]] = {
    Path: ("a b", Path("a b"), None),
    kept_releases: ("3", 3, "0"),
    portion: ("25%", Portion(share=0.25), "0%"),
    sizes: ("32x48,64x64", ((32, 48), (64, 64)), "32x"),
    values.amount: ("250M", 250_000_000, "0"),
    values.byte_count: ("500KB", 500_000, "0"),
    values.count: ("0", 0, "-1"),
    values.counts: ("1,all", (1, "all"), "1,some"),
    values.duration: ("20m", 1200.0, "0"),
    values.number: ("0.5", 0.5, "inf"),
    values.positive: ("3", 3, "0"),
    values.version: ("2.14.0", "2.14.0", "-e x"),
    values.price: ("3e-8", 3e-8, "-1"),
    values.seconds: ("2.5", 2.5, "0"),
    values.input_shape: ("a=8x9,b=3", {"a": (8, 9), "b": (3,)}, "a=8x9,a=3"),
    values.shape: ("8x9x3", (8, 9, 3), "8x"),
    values.share: ("5%", 0.05, "-5%"),
    values.shares: ("0.7,80%", (0.7, 0.8), "0"),
    values.size: ("480x640", (480, 640), "1x2x3"),
    values.whole: ("-3", -3, "3.5"),
    values.words: ("a,b", ("a", "b"), None),
}


def every_option() -> Iterator[Any]:
    seen: set[int] = set()
    for records in VERBS.values():
        for record in records:
            for name, said in options_of(record).items():
                if id(said) not in seen:
                    seen.add(id(said))
                    yield pytest.param(record, name, said, id=f"{record.__name__}-{name}")


def words_of(name: str, said: Option, value: str) -> list[str]:
    return [f"{flags_of(name, said)[-1]}={value}"]


def parsed(record: type, *words: str) -> argparse.Namespace:
    """What a command line with the options of one record comes to; those that must be given are."""
    parser = Parser(prog="sdk")
    add_options(parser, record)
    given = [word.partition("=")[0] for word in words]
    needed = [
        word
        for name, said in options_of(record).items()
        if said.required and flags_of(name, said)[-1] not in given
        for word in words_of(name, said, right(said)[0])
    ]
    return parser.parse_args([*needed, *words])


def right(said: Option) -> tuple[str, Any]:
    if said.choices is not None:
        chosen = list(said.choices)[-1]
        return str(chosen), chosen
    return TEXTS[said.parse][:2] if said.parse is not None else ("some text", "some text")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_names_each_option_of_its_records(verb: str):
    text = " ".join(help_of(*verb.split(), flag="--help-all").split())
    for record in VERBS[verb]:
        for name, said in options_of(record).items():
            assert flags_of(name, said)[-1] in text, name
            assert " ".join((said.help % {}).split())[:20] in text, name


def test_no_record_that_has_options_is_forgotten_here():
    asked = {base for records in VERBS.values() for record in records for base in record.__mro__}
    left_out = [kind.__name__ for kind in make_keywords.records() if kind not in asked and options_of(kind)]
    assert left_out == ["Rollback", "RollbackFleet"]  # WayBack, with Address and with FleetQuery
    assert Target in asked


@pytest.mark.parametrize(("record", "name", "said"), list(every_option()))
def test_an_option_is_read_as_its_type(record: type, name: str, said: Option):
    if isinstance(said.default, bool) and not isinstance(said.choices, Mapping):
        assert getattr(parsed(record), name) is said.default
        assert getattr(parsed(record, flags_of(name, said)[-1]), name) is not said.default
        return
    text, value = right(said)
    assert getattr(parsed(record, *words_of(name, said, text)), name) == value


@pytest.mark.parametrize(("record", "name", "said"), list(every_option()))
def test_a_bad_value_is_one_clear_error(record: type, name: str, said: Option):
    flag = flags_of(name, said)[-1]
    wrong = (
        "no-such" if said.choices is not None else TEXTS[said.parse][2] if said.parse is not None else None
    )
    if wrong is None:
        return  # every text is right
    with pytest.raises(UsageError) as refused:
        parsed(record, *words_of(name, said, wrong))
    (line,) = str(refused.value).splitlines()
    assert flag in line
    assert wrong in line


def test_the_options_of_the_zoo_are_those_of_its_networks():
    own = {name.name for entry in ENTRIES for name in entry.options}
    common = {"input_size", "classes", "channels"}
    assert {entry.name for entry in fields(files.DescribeZoo)} == own | common


# -- a new option needs one place -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heat:
    level: float = option(0.5, help="of heat (default: {default})", parse=float, on_command_line=None)
    most: int | None = option(None, help="not more", flag="--max-level", parse=int)


@dataclass(frozen=True, kw_only=True)
class Bake:
    minutes: int = option(3, help="how long (default: {default})", parse=int)
    heat: Heat = part(Heat)


@dataclass(frozen=True, kw_only=True)
class BakeAll:
    minutes: int = same(Bake, "minutes")
    batch: Portion = same(RolloutPlan, "batch", group="")


def test_an_option_of_a_record_is_an_argument_a_keyword_and_help_without_another_line():
    parser = argparse.ArgumentParser()
    add_options(parser, Bake, BakeAll)  # what they share is one argument
    text = parser.format_help()
    assert text.count("how long (default: 3)") == 1
    assert "of heat (default: 0.5)" in text
    assert "(default: 25%)" in text
    line = parser.parse_args(["--minutes=4", "--max-level=9"])
    assert request(Bake, line) == Bake(minutes=4, heat=Heat(most=9))
    assert keywords(BakeAll, line) == {"minutes": 4}  # what was left open has the record's default
    assert request(Bake, line, minutes=1) == Bake(minutes=1, heat=Heat(most=9))
    assert build(Bake, {"heat": Heat(0.1)}, function="bake") == Bake(heat=Heat(0.1))


def test_two_options_of_one_name_that_differ_are_not_mixed_up():
    with pytest.raises(TypeError, match="two options are called samples"):
        add_options(argparse.ArgumentParser(), boards.Bench, boards.Tune)


@pytest.mark.parametrize(
    ("record", "given", "meant"),
    [
        (Bake, "minuets", "did you mean 'minutes'"),
        (Bake, "max_levle", r"did you mean heat=Heat\(most=...\)"),
        (releases.DeployFleet, "canry", r"did you mean plan=RolloutPlan\(canary=...\)"),
        (releases.Deploy, "max_latency", r"did you mean limits=CheckLimits\(inference_seconds=...\)"),
        (boards.Evaluate, "limt", "did you mean 'limit'"),
        (boards.Evaluate, "zzz", "it takes host, .*split, limit"),
        (Compress, "target_size", "did you mean 'target_bytes'"),
    ],
)
def test_what_was_meant_is_found_in_parts_and_in_the_words_of_the_command_line(
    record: type, given: str, meant: str
):
    with pytest.raises(TypeError, match=meant):
        build(record, {given: 1}, function="function")


def test_the_parser_of_all_commands_reads_a_request():
    line = build_parser().parse_args(
        ["deploy", "m.armlet", "--inventory=i", "--canary=5%", "--max-latency=50ms"]
    )
    asked = request(releases.DeployFleet, line)
    assert asked.plan == RolloutPlan(canary=Portion(share=0.05))
    assert asked.limits.inference_seconds == 0.05
