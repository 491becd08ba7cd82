"""Makes the cost tables beside it (costs/*.txt) from LLVM's scheduling models. Users need neither it nor LLVM.

    python -m sdk.board.emulation.replay.make_costs [--llvm 19]

Needs llvm-mc and llvm-mca (Debian: llvm-19). For each form in forms.txt a few opcodes are tried, disassembled and
priced: micro-operations, latency, ports, and, for instructions that add to a register, the latency to the next addition
(a loop of that one instruction). corrections.txt lists known errors of the models.

A table names the units once; ``cost N: micro-operations latency latency-of-additions [wide] unit+unit*cycles ...``
defines a price, wide if a result has 128 bits; ``GROUP PRICE: forms`` says which forms have it, as numbers and ranges.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

from sdk.board.emulation.replay.forms import Group, group_of, read_groups

FOLDER = Path(__file__).parent
#: Our name of a table -> LLVM's name of a processor with that scheduling model.
MODELS = {
    "cortex-a53": "cortex-a53",
    "cortex-a55": "cortex-a55",
    "cortex-a57": "cortex-a57",
    "cortex-a72": "cortex-a57",
    "cortex-a73": "cortex-a57",
    "neoverse-n1": "neoverse-n1",
    "cortex-a78": "neoverse-n2",
}
ATTRIBUTES = (
    "+v8.2a,+fullfp16,+dotprod,+i8mm,+bf16,+fp16fml,+lse,+rdm,+crc,+aes,+sha2,+ras,+rcpc,+jsconv,+complxnum"
)
#: What is put into the bits that the key does not hold: registers that differ, small numbers.
FILLS = (
    0x00031041,
    0x00030841,
    0x00031C41,
    0x0003F041,
    0x00011041,
    0x00131041,
    0x000B1041,
    0x001F0041,
    0x00000041,
    0x001F0020,
    0x001F03E0,
)

#: Results of 128 bits, by the first operand; those that narrow into an upper half write 64.
WIDE = re.compile(
    r"^(?!st|prfm|\w*(xtn|xtun|hn|hrn|hrun|fcvtn|fcvtxn)2 )[a-z]\w* (\{ )?(v\d+\.(16b|8h|4s|2d)\b(?! \}\[)|q\d)"
)

Ports = tuple[tuple[tuple[str, ...], float], ...]
#: Micro-operations, latency, latency of additions, whether a result is wide, ports.
Price = tuple[int, int, int, bool, Ports]


def main() -> None:
    """Writes every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llvm", default="19")
    version = parser.parse_args().llvm
    groups = read_groups()
    texts = disassemble(opcodes(groups), f"llvm-mc-{version}")
    found = first_of_each(texts, groups)
    print(f"{len(found)} forms of {len({g for g, _ in found})} groups")
    (FOLDER / "costs").mkdir(exist_ok=True)
    for name, processor in MODELS.items():
        prices = price(found, processor, f"llvm-mca-{version}", groups)
        corrected = correct(name, found, prices)
        (FOLDER / "costs" / f"{name}.txt").write_text(table(name, corrected, groups), encoding="utf-8")
        print(f"{name}: {len(corrected)} forms, {len(set(corrected.values()))} prices")


def opcodes(groups: tuple[Group, ...]) -> list[int]:
    """Opcodes to try, of every form with every fill."""
    tried = []
    for group in groups:
        free = ~(group.mask | group.key) & 0xFFFFFFFF
        for form in range(group.forms):
            tried += [group.spread(form) | (fill & free) for fill in FILLS]
    return list(dict.fromkeys(tried))


def disassemble(words: list[int], program: str) -> dict[int, str]:
    """Opcode -> assembly, of those that are instructions."""
    text = "\n".join(" ".join(f"0x{b:02x}" for b in word.to_bytes(4, "little")) for word in words)
    done = subprocess.run(
        [program, "--disassemble", "-triple=aarch64", f"-mattr={ATTRIBUTES}", "-show-encoding"],
        input=text,
        capture_output=True,
        text=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s*(.*?)\s*// encoding: \[(.*)\]", line)
        if match and not match[1].startswith("."):
            opcode = int.from_bytes(bytes(int(b, 16) for b in match[2].split(",")), "little")
            found[opcode] = re.sub(r"\s+", " ", match[1])
    return found


def first_of_each(texts: dict[int, str], groups: tuple[Group, ...]) -> dict[tuple[int, int], str]:
    """(group, form) -> assembly of the first opcode of it that is an instruction."""
    found: dict[tuple[int, int], str] = {}
    for opcode, text in texts.items():
        place = group_of(opcode, groups)
        if place is not None:
            found.setdefault((place, groups[place].form_of(opcode)), text)
    return found


def price(
    found: dict[tuple[int, int], str], processor: str, program: str, groups: tuple[Group, ...]
) -> dict[tuple[int, int], Price]:
    """The price of every form that the model prices."""
    # A branch's target is not a number for llvm-mca's parser.
    texts = {
        k: re.sub(r"#-?\d+$", ".", t) if re.match(r"(b|bl|cbz|cbnz|tbz|tbnz|b\.\w+) ", t) else t
        for k, t in found.items()
    }
    lacking = _unpriced(program, processor, list(texts.values()))
    places = [place for place in texts if texts[place] not in lacking]
    answer = _mca(program, processor, [texts[p] for p in places], ["-instruction-tables"])
    region = answer["CodeRegions"][0]
    units = [_unit(name) for name in answer["TargetInfo"]["Resources"]]
    usage: dict[int, dict[int, float]] = defaultdict(dict)
    for entry in region["ResourcePressureView"]["ResourcePressureInfo"]:
        usage[entry["InstructionIndex"]][entry["ResourceIndex"]] = entry["ResourceUsage"]
    assert len(region["Instructions"]) == len(places), "llvm-mca skipped an instruction"
    chained = _chained_latencies(found, program, processor, groups)
    adding = [i for i, p in enumerate(places) if any(w.startswith("a:") for w in groups[p[0]].words)]
    chains = _chains(program, processor, [texts[places[i]] for i in adding])
    forward = dict(zip(adding, chains, strict=True))
    prices = {}
    for i, place in enumerate(places):
        info = region["InstructionInfoView"]["InstructionList"][i]
        latency = min(chained.get(place, info["Latency"]), 60)
        add = min(max(1, forward.get(i, latency)), latency)
        wide = WIDE.search(found[place]) is not None
        prices[place] = (info["NumMicroOpcodes"], latency, add, wide, _ports(usage[i], units))
    return prices


def _unit(name: str) -> tuple[str, int]:
    base, _, number = name.partition(".")
    short = re.sub(r"^.*?Unit", "", base)
    return short, ord(number) if number else 0


def _chained_latencies(
    found: dict[tuple[int, int], str], program: str, processor: str, groups: tuple[Group, ...]
) -> dict[tuple[int, int], int]:
    """Latency of what may follow itself: cycles of a loop in which each instruction reads what the last one wrote.

    It is shorter than the latency of the table where a core forwards results early.
    """
    places, lines = [], []
    for place, text in found.items():
        words = groups[place[0]].words
        one = next((c for c in "XV" if f"w:{c}@0" in words and f"r:{c}@5" in words), None)
        if one is None or "u:X@5" in words:
            continue
        # the fills write register 1 and read register 2 (bits 5 to 9)
        chain = re.sub(r"\b([wxvbhsdq])2\b", r"\g<1>1", text)
        if chain != text:
            places.append(place)
            lines.append(chain)
    lacking = _unpriced(program, processor, lines)
    kept = [(p, line) for p, line in zip(places, lines, strict=True) if line not in lacking]
    return dict(
        zip([p for p, _ in kept], _chains(program, processor, [line for _, line in kept]), strict=True)
    )


def _ports(
    usage: dict[int, float], units: list[tuple[str, int]]
) -> tuple[tuple[tuple[str, ...], float], ...]:
    """Sets of units of which one is taken, and for how many cycles in all. llvm-mca spreads a set's cycles evenly."""
    ports: list[tuple[tuple[str, ...], float]] = []
    same: dict[tuple[str, float], list[int]] = defaultdict(list)
    for index, cycles in usage.items():
        copies = sum(1 for name, _ in units if name == units[index][0])
        same[units[index][0] if copies > 1 else "", round(cycles, 3)].append(index)
    loose: dict[float, list[int]] = defaultdict(list)
    for (name, cycles), members in same.items():
        whole = abs(cycles * len(members) - round(cycles * len(members))) < 0.02
        if name and whole:
            ports.append(
                (tuple(f"{units[m][0]}{units[m][1]}" for m in members), round(cycles * len(members)))
            )
        else:
            loose[cycles] += members
    for cycles, members in loose.items():
        names = [f"{units[m][0]}{units[m][1]}" for m in members]
        if abs(cycles - round(cycles)) < 0.02:
            ports += [((name,), round(cycles)) for name in names]
        else:
            ports.append((tuple(names), max(1, round(cycles * len(members)))))
    return tuple(sorted(ports))


def _mca(program: str, processor: str, lines: list[str], flags: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [program, "-mtriple=aarch64", f"-mcpu={processor}", f"-mattr={ATTRIBUTES}", "-json", *flags],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[:2000])
    return dict(json.loads(done.stdout))


def _unpriced(program: str, processor: str, lines: list[str]) -> set[str]:
    """The lines that the model has no price for."""
    flags = ["-instruction-tables", "-skip-unsupported-instructions=lack-sched"]
    done = subprocess.run(
        [
            program,
            "-mtriple=aarch64",
            f"-mcpu={processor}",
            f"-mattr={ATTRIBUTES}",
            *flags,
            "-o",
            "/dev/null",
        ],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
    )
    return {" ".join(text.split()) for text in re.findall(r"note: instruction: (.*)", done.stderr)}


def _chains(program: str, processor: str, lines: list[str]) -> list[int]:
    """Cycles from one addition to the next that adds to the same register."""
    regions = []
    for i, line in enumerate(lines):
        regions += [f"# LLVM-MCA-BEGIN {i}", line, f"# LLVM-MCA-END {i}"]
    answer = _mca(program, processor, regions, ["-iterations=100", "-all-views=false", "-summary-view"])
    found = {int(r["Name"]): r["SummaryView"]["TotalCycles"] / 100 for r in answer["CodeRegions"]}
    return [max(1, round(found[i] - 0.08)) for i in range(len(lines))]


def correct(
    model: str, found: dict[tuple[int, int], str], prices: dict[tuple[int, int], Price]
) -> dict[tuple[int, int], Price]:
    """With corrections.txt applied: ``MODEL | pattern of the assembly | unit+unit*cycles ... | reason``."""
    rules: tuple[list[tuple[re.Pattern[str], str]], ...] = ([], [])
    for line in (FOLDER / "corrections.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            for_model, pattern, words, _ = (part.strip() for part in line.split(" | "))
            if for_model == model:
                rules[words.startswith(("micro+", "micro>"))].append((re.compile(pattern), words))
    corrected = {}
    for place, cost in prices.items():
        for of_kind in rules:  # what it costs, then how much of the front end it takes
            wanted = next((wanted for pattern, wanted in of_kind if pattern.search(found[place])), "")
            cost = _corrected(cost, wanted.split())
        corrected[place] = cost
    return corrected


def _corrected(cost: Price, words: list[str]) -> Price:
    """A price with the words of a correction applied."""
    micro, latency, adding, wide, ports = cost
    units = []
    for word in words:
        name, _, number = word.partition("=")
        if name == "add":
            adding = int(number)
        elif name == "latency":
            latency = int(number)
        elif name == "micro":
            micro = int(number)
        elif word.startswith("micro+"):
            micro += int(word[6:])
        elif word.startswith("micro>"):
            micro = max(micro, int(word[6:]))
        elif ">" in word:
            ports = _moved(ports, word)
        elif word.startswith("x"):  # as many times the cycles
            ports = tuple((names, cycles * int(word[1:])) for names, cycles in ports)
        else:
            names, _, cycles = word.partition("*")
            units.append((tuple(names.split("+")), float(cycles or 1)))
    return micro, latency, min(adding, latency), wide, tuple(units) or ports


def _moved(ports: Ports, word: str) -> Ports:
    """``A>B+C*N``: what took unit A takes one of B and C, for N times the cycles."""
    unit, _, others = word.partition(">")
    names, _, times = others.partition("*")
    to = tuple(names.split("+"))
    return tuple((to, cycles * int(times or 1)) if of == (unit,) else (of, cycles) for of, cycles in ports)


def table(name: str, prices: dict[tuple[int, int], Price], groups: tuple[Group, ...]) -> str:
    """The text of a cost table."""
    numbers = {cost: i for i, cost in enumerate(dict.fromkeys(prices.values()))}
    units = sorted({unit for *_, ports in numbers for names, _ in ports for unit in names})
    lines = [
        f"# {name}: made by make_costs.py from LLVM's scheduling model of {MODELS[name]}, with corrections.txt"
    ]
    lines.append("units " + " ".join(units))
    for (uops, latency, add, wide, ports), number in numbers.items():
        told = " ".join([*["wide"] * wide, *(f"{'+'.join(names)}*{cycles:g}" for names, cycles in ports)])
        lines.append(f"cost {number}: {uops} {latency} {add} {told}".rstrip())
    by_price: dict[tuple[int, int], list[int]] = defaultdict(list)
    for (place, form), cost in sorted(prices.items()):
        by_price[place, numbers[cost]].append(form)
    for (place, number), forms in by_price.items():
        lines.append(f"{groups[place].name} {number}: {_ranges(forms)}")
    return "\n".join(lines) + "\n"


def _ranges(forms: list[int]) -> str:
    told: list[str] = []
    start = last = forms[0]
    for form in [*forms[1:], -1]:
        if form != last + 1:
            told.append(f"{start}-{last}" if last > start else f"{start}")
            start = form
        last = form
    return " ".join(told)


if __name__ == "__main__":
    main()
