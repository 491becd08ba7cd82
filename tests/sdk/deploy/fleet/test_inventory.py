"""Inventories: ours is strict, Ansible's are read by Ansible, and what it prints of them is checked."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from sdk.deploy.fleet.hosts import Inventory
from sdk.deploy.fleet.inventory import expand_range, load_inventory
from sdk.errors import ArmletError, InventoryError

OURS = """
[defaults]
board = "rpi4"
user = "pi"
vars = { site = "home" }

[groups.kitchen]
user = "cook"
vars = { floor = 1, site = "flat" }

[boards."cam[08:10]"]
groups = ["kitchen"]
host = "{name}.local"

[boards.door]
board = "rpi5"
port = 2222
key = "keys/door"
vars = { floor = 0 }
"""


def test_boards_on_this_machine_need_no_address(tmp_path):
    text = """
[boards."toy[1:2]"]
board = "local"
[boards.spare]
board = "local-b"
[boards.arm]
board = "virtual-arm64"
[boards.elsewhere]
board = "local"
host = "127.0.0.1"
port = 2222
"""
    hosts = {host.name: host for host in load(tmp_path, text).select().hosts}
    assert [(host.board, host.here) for host in hosts.values()] == [
        ("local-toy1", True),
        ("local-toy2", True),
        ("local-b", True),
        ("virtual-arm64", True),
        ("local", False),
    ]
    assert hosts["toy1"].address == "this machine"
    assert hosts["elsewhere"].address == "127.0.0.1:2222"
    with pytest.raises(InventoryError, match="spare and b are the same board"):
        load(tmp_path, '[boards.spare]\nboard = "local-b"\n[boards.b]\nboard = "local"\n').select()
    with pytest.raises(InventoryError, match="small letters, digits and dashes; found Toy_1"):
        load(tmp_path, '[boards.Toy_1]\nboard = "local"\n')


needs_ansible = pytest.mark.skipif(
    shutil.which("ansible-inventory", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    is None,
    reason="ansible-core is not installed",
)


def load(folder: Path, text: str, name: str = "boards.toml", **options) -> Inventory:
    path = folder / name
    path.write_text(text)
    return load_inventory(path, **options)


def test_our_file_gives_every_board_with_what_its_groups_and_the_defaults_say(tmp_path):
    inventory = load(tmp_path, OURS)
    assert [host.name for host in inventory.hosts] == ["cam08", "cam09", "cam10", "door"]
    cam, door = inventory.hosts[0], inventory.hosts[-1]
    assert (cam.host, cam.user, cam.board, cam.groups) == ("cam08.local", "cook", "rpi4", ("kitchen",))
    assert cam.vars == {"site": "flat", "floor": 1}
    assert (door.host, door.port, door.board, door.key) == ("door", 2222, "rpi5", tmp_path / "keys" / "door")
    assert door.vars == {"site": "home", "floor": 0}
    assert [host.name for host in inventory.select("kitchen").hosts] == ["cam08", "cam09", "cam10"]
    assert inventory.select("all").hosts == inventory.select().hosts == inventory.hosts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("boards = 3", "boards; expected a table"),
        ("", "boards; expected a table; found nothing"),
        ("[boards.a]\nboard = 'rpi4'\nhots = 'x'", "hots; expected only board"),
        ("[boards.a]", "which kind of board it is"),
        ("[boards.a]\nboard = 'rpi99'", "unknown board 'rpi99'"),
        ("[boards.a]\nboard = 'rpi4'\nport = 0", "port; expected a whole number above 0"),
        ("[boards.a]\nboard = 'rpi4'\nport = 70000", "1 to 65535"),
        ("[boards.a]\nboard = 'rpi4'\npassword = 'x'", "SSH keys"),
        ("[boards.a]\nboard = 'rpi4'\nruntime = 'onnx'", "one of tflite-runtime, ai-edge-litert"),
        ("[boards.a]\nboard = 'rpi4'\nvars = { list = [1] }", "a text, a number, true or false"),
        ("[boards.a]\nboard = 'rpi4'\nhost = 'i-$(touch${IFS}x)'", "host; expected the name or the address"),
        ("[boards.a]\nboard = 'rpi4'\nhost = '-oProxyCommand=x'", "host; expected the name or the address"),
        ("[boards.a]\nboard = 'rpi4'\nuser = 'pi;reboot'", "user; expected a login name"),
        ("[boards.'a[1:']\nboard = 'rpi4'", "a range such as"),
        ("[boards.'a[9:1]']\nboard = 'rpi4'", "a range such as"),
        ("[boards.'a[1:99999]']\nboard = 'rpi4'", "a range such as"),
        ("[boards.'a[1:999][1:999]']\nboard = 'rpi4'", "at most 10000 boards"),
        ("[boards.a1]\nboard = 'rpi4'\n[boards.'a[1:2]']\nboard = 'rpi4'", "a1 stands there twice"),
        ("[boards.'-oProxyCommand=x']\nboard = 'rpi4'", "cannot be the name of a board"),
        ("[boards", "is not TOML"),
    ],
)
def test_what_is_wrong_in_our_file_is_one_clear_error(tmp_path, text, says):
    with pytest.raises(ArmletError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert "boards.toml" in str(caught.value)


def test_a_group_that_has_no_board_and_a_board_under_two_names_are_refused(tmp_path):
    inventory = load(tmp_path, OURS)
    with pytest.raises(InventoryError, match="no board is in the group attic; expected kitchen"):
        inventory.select("attic")
    twice = load(tmp_path, "[defaults]\nboard='rpi4'\n[boards.a]\nhost='h'\n[boards.b]\nhost='h'\nport=22")
    with pytest.raises(InventoryError, match="a and b are the same board"):
        twice.select()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web[01:03].lan", ["web01.lan", "web02.lan", "web03.lan"]),
        ("web[9:11]", ["web9", "web10", "web11"]),
        ("db-[a:c]", ["db-a", "db-b", "db-c"]),
        ("r[0:4:2]c[1:2]", ["r0c1", "r0c2", "r2c1", "r2c2", "r4c1", "r4c2"]),
        ("plain", ["plain"]),
    ],
)
def test_ranges_count_as_ansible_does(pattern, names):
    assert expand_range(pattern, "here") == names


INI = """
# a comment
gateway ansible_connection=local
single:2222 ansible_user=root

[kitchen]
cam[01:03].lan ansible_user=cook floor=1
oven ansible_host=10.0.0.7 ansible_port=2200 note="two words"   # the old one

[bath]
tap

[house:children]
kitchen
bath

[house:vars]
ansible_ssh_private_key_file=/keys/house
armlet_board=rpi4
floor=0
motto=a = b

[all:vars]
ansible_user=pi
armlet_board=rpi5
"""

YAML = """
all:
  vars: {ansible_user: pi, armlet_board: rpi5}
  hosts:
    single: {ansible_port: 2222, ansible_user: root}
    gateway: {ansible_connection: local}
  children:
    house:
      vars: {ansible_ssh_private_key_file: /keys/house, armlet_board: rpi4, floor: 0, motto: a = b}
      children:
        kitchen:
          hosts:
            cam[01:03].lan: {ansible_user: cook, floor: 1}
            oven: {ansible_host: 10.0.0.7, ansible_port: 2200, note: two words}
        bath:
          hosts:
            tap:
"""


def facts(inventory: Inventory) -> dict:
    return {
        host.name: (
            host.host,
            host.port,
            host.user,
            str(host.key),
            host.board,
            set(host.groups),
            dict(host.vars),
        )
        for host in inventory.hosts
    }


@needs_ansible
@pytest.mark.parametrize(("text", "name"), [(INI, "hosts"), (YAML, "h.yml"), (YAML, "hosts")])
def test_an_ansible_inventory_is_read(tmp_path, text, name):
    inventory = load(tmp_path, text, name)
    found = facts(inventory)
    house = {"floor": 0, "motto": "a = b"}
    assert found["single"] == ("single", 2222, "root", "None", "rpi5", set(), {})
    assert found["cam02.lan"] == (
        "cam02.lan",
        None,
        "cook",
        "/keys/house",
        "rpi4",
        {"house", "kitchen"},
        {**house, "floor": 1},
    )
    assert found["oven"][:3] == ("10.0.0.7", 2200, "pi")
    assert found["oven"][-1] == {**house, "note": "two words"}
    assert found["tap"][5] == {"house", "bath"}
    assert "gateway" not in found
    assert inventory.notes == ("left out, not reached by SSH: gateway",)
    # As they stand in the file, and not by the alphabet: a rollout begins with the first.
    assert list(found) == ["single", "cam01.lan", "cam02.lan", "cam03.lan", "oven", "tap"]
    assert len(inventory.select("house").hosts) == 5


BESIDE = {
    "group_vars/all.yml": "ansible_user: all\narmlet_board: rpi3\nwhere: everywhere\n",
    "group_vars/house.yaml": "ansible_ssh_private_key_file: /keys/beside\nfloor: 2\n",
    "group_vars/kitchen/10-first.yml": "ansible_port: 2301\nfloor: 3\n",
    "group_vars/kitchen/20-second.json": '{"ansible_port": 2302}',
    "group_vars/kitchen/.hidden.yml": "ansible_port: 1",
    "group_vars/bath": "ansible_user: plumber\n",
    "host_vars/oven.yml": "ansible_port: 2999\nfloor: 9\nsecret: !vault |\n  $ANSIBLE_VAULT\nplain: !unsafe '{{'\n",
    "host_vars/tap.yml": "",
}


@needs_ansible
def test_variables_beside_an_ansible_inventory_win_as_they_do_there(tmp_path):
    for name, text in BESIDE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    inventory = load(tmp_path, INI, "hosts.ini")
    found = facts(inventory)
    assert inventory.notes == ("left out, not reached by SSH: gateway",)
    # The host's own line is above group_vars, host_vars is above all.
    assert found["cam01.lan"][:5] == ("cam01.lan", 2302, "cook", "/keys/beside", "rpi3")
    assert found["cam01.lan"][-1] == {"floor": 1, "motto": "a = b", "where": "everywhere"}
    assert found["oven"][1:3] == (2999, "all")
    assert (found["oven"][-1]["floor"], found["oven"][-1]["plain"]) == (9, "{{")
    assert "secret" not in found["oven"][-1]
    assert found["tap"][2] == "plumber"
    assert found["single"][1:3] == (2222, "root")


@needs_ansible
def test_folders_and_programs_are_read_as_ansible_reads_them(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "1-kitchen").write_text("[kitchen]\noven armlet_board=rpi5\n")
    program = tmp_path / "site" / "2.sh"
    listing = {"bath": {"hosts": ["tap"]}, "_meta": {"hostvars": {"tap": {"ansible_port": 7}}}}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(listing)}'\n")
    program.chmod(0o755)
    found = facts(load_inventory(tmp_path / "site", board="rpi4"))
    assert list(found) == ["oven", "tap"]
    assert (found["oven"][4], found["tap"][1], found["tap"][5]) == ("rpi5", 7, {"bath"})
    assert facts(load_inventory(program, board="rpi4")) == {"tap": found["tap"]}


@needs_ansible
@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("[a:childs]\nx", "hosts.ini", "unknown type: childs"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nx", "hosts.ini", "loop"),
        ("x ansible_port=ssh", "hosts.ini", "ansible_port; expected 1 to 65535"),
        ("x ansible_user='{{ who }}'", "hosts.ini", "templates and vaults"),
        ("all: {hosts: {x: {ansible_user: !vault abc}}}", "h.yml", "a secret"),
        ("all: !!python/object/apply:os.system [id]", "h.yml", "constructor"),
        ("all: {hosts: [", "h.yml", "YAML"),
        ("#!/bin/sh\necho {}", "hosts", "Ansible cannot read"),
        ("\x1b[31m", "hosts", "Ansible cannot read"),
        ("", "hosts", "names no board"),
    ],
)
def test_what_ansible_cannot_read_is_one_clear_error(tmp_path, text, name, says):
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, text, name, board="rpi4").select()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@needs_ansible
def test_a_file_in_a_vault_says_what_opens_it(tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6231\n")
    with pytest.raises(InventoryError, match=r"vault.*ANSIBLE_VAULT_PASSWORD_FILE"):
        load(tmp_path, "x\n", "hosts", board="rpi4")


@needs_ansible
def test_what_ansible_warns_of_is_a_note(tmp_path):
    inventory = load(tmp_path, "all: {host: {y: }, hosts: {x: }}", "h.yml", board="rpi4")
    assert [host.name for host in inventory.hosts] == ["x"]
    assert len(inventory.notes) == 1
    assert inventory.notes[0].startswith("Ansible warns: Skipping unexpected key (host)")


def ansible_that(monkeypatch, folder: Path, script: str) -> None:
    """Puts a program of this name, which does something else, before all others."""
    (folder / "bin").mkdir()
    (folder / "bin" / "ansible-inventory").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "ansible-inventory").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sleep 60", "no end within 0.5 s"),
        ("cat /dev/zero", "more than 100000 bytes"),
        ("tail /dev/zero", "Ansible cannot read"),  # which takes all the memory that it gets
        ("exit 3", "exit status 3"),
        ("echo '[ERROR]: so it is'; echo '[ERROR]: not to be had' >&2; exit 1", "found not to be had"),
        ("echo none", "is not JSON"),
    ],
)
def test_the_program_has_limits(tmp_path, monkeypatch, script, says):
    monkeypatch.setattr("sdk.deploy.fleet.ansible_program.LIMIT_SECONDS", 0.5 if "sleep" in script else 30)
    monkeypatch.setattr("sdk.deploy.fleet.ansible_program.MAX_BYTES", 100_000)
    monkeypatch.setattr("sdk.deploy.fleet.ansible_program.MEMORY_BYTES", 100 << 20)
    ansible_that(monkeypatch, tmp_path, script)
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, "x\n", "hosts", board="rpi4")
    assert says in str(caught.value)


def test_without_ansible_there_is_one_clear_error_and_json_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, "x\n", "hosts", board="rpi4")
    assert "pip install ansible-core" in str(caught.value)
    assert "--list > hosts.json" in str(caught.value)
    assert load(tmp_path, '{"a": {"hosts": ["x"]}}', "hosts", board="rpi4").hosts[0].name == "x"


# -- listings: no program is needed ------------------------------------------------------------------------------------


def listing(hosts: dict, **groups) -> str:
    return json.dumps({"_meta": {"hostvars": hosts}, **groups})


def test_boards_without_a_type_take_the_one_of_the_command_line(tmp_path):
    text = listing({"tap": {}})
    with pytest.raises(InventoryError, match="which kind of board is it"):
        load(tmp_path, text, "hosts.json")
    assert load(tmp_path, text, "hosts.json", board="rpi4").hosts[0].board == "rpi4"


def test_a_listing_has_the_order_of_its_groups_and_what_they_say(tmp_path):
    text = listing(
        {"a": {"x": 1}, "b": {}, "c": {"port": 2}, "z": {}},
        all={"children": ["ungrouped", "outer"], "vars": {"x": 0, "y": 0}},
        inner={"hosts": ["c", "a"], "vars": {"y": 2, "z": {"__ansible_unsafe": "{{"}}},
        outer={"children": ["inner"], "hosts": ["b"], "vars": {"y": 1}},
        ungrouped={"hosts": ["z"]},
    )
    inventory = load(tmp_path, text, "hosts.json", board="rpi4")
    assert [host.name for host in inventory.hosts] == ["z", "b", "c", "a"]
    assert [dict(host.vars) for host in inventory.hosts[1:]] == [
        {"x": 0, "y": 1},
        {"x": 0, "y": 2, "z": "{{", "port": 2},
        {"x": 1, "y": 2, "z": "{{"},
    ]
    assert inventory.hosts[2].groups == ("outer", "inner")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("{" * 100_000, "is not JSON"),
        ("[]", "a mapping"),
        ('{"a": {"hosts": {"x": 1}}}', "a list of names"),
        ('{"a": {"hosts": ["x; rm -rf /"]}}', "cannot be the name of a board"),
        ('{"a": {"children": ["b"]}, "b": {"children": ["a"], "hosts": ["x"]}}', "is part of itself"),
        (listing({"x": {"ansible_port": "ssh"}}), "ansible_port; expected 1 to 65535"),
        (listing({"x": {"ansible_port": "70000"}}), "1 to 65535"),
        (listing({"x": {"ansible_user": {"__ansible_vault": "abc"}}}), "a secret"),
        (listing({"x": {"ansible_user": "{{ who }}"}}), "templates and vaults"),
        (listing({"x": []}), "a mapping"),
    ],
)
def test_what_is_wrong_in_a_listing_is_one_clear_error(tmp_path, text, says):
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, text, "hosts.json", board="rpi4")
    assert says in str(caught.value)


def test_what_is_not_used_is_said(tmp_path):
    variables = {
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/k -o ProxyJump=b",
        "ansible_password": "x",
    }
    inventory = load(tmp_path, listing({"a": variables}), "hosts.json", board="rpi4")
    assert inventory.hosts[0].known_hosts == Path("/k")
    assert "not used: ansible_password, ansible_ssh_common_args" in inventory.notes[0]
    assert "x" not in json.dumps({k: str(v) for k, v in inventory.hosts[0].vars.items()})


def test_what_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "hosts.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InventoryError, match="UTF-8"):
        load_inventory(tmp_path / "hosts.json")
    for name in ("nothing.toml", "nothing", "nothing.json"):
        with pytest.raises(ArmletError, match="there is no file"):
            load_inventory(tmp_path / name)


def test_a_listing_may_come_through_a_pipe(tmp_path):
    """As in `--inventory <(ansible-inventory --list)`."""
    reading, writing = os.pipe()
    os.write(writing, listing({"x": {}}).encode())
    os.close(writing)
    try:
        assert load_inventory(Path(f"/dev/fd/{reading}"), board="rpi4").hosts[0].name == "x"
    finally:
        os.close(reading)
