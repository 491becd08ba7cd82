"""Inventories: ours is strict, Ansible's are read as Ansible reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.deploy.fleet.inventory import Inventory, expand_range, load_inventory
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
name=a = b

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
      vars: {ansible_ssh_private_key_file: /keys/house, armlet_board: rpi4, floor: 0, name: a = b}
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


@pytest.mark.parametrize(
    ("text", "name"), [(INI, "hosts"), (INI, "hosts.ini"), (YAML, "h.yml"), (YAML, "hosts")]
)
def test_an_ansible_inventory_is_read(tmp_path, text, name):
    inventory = load(tmp_path, text, name)
    found = facts(inventory)
    house = {"floor": 0, "name": "a = b"}
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
    assert len(inventory.select("house").hosts) == 5


BESIDE = {
    "group_vars/all.yml": "ansible_user: all\narmlet_board: rpi3\nwhere: everywhere\n",
    "group_vars/house.yaml": "ansible_ssh_private_key_file: /keys/beside\nfloor: 2\n",
    "group_vars/kitchen/10-first.yml": "ansible_port: 2301\nfloor: 3\n",
    "group_vars/kitchen/20-second.json": '{"ansible_port": 2302}',
    "group_vars/kitchen/.hidden.yml": "ansible_port: 1",
    "group_vars/kitchen/old.yml~": "ansible_port: 2",
    "group_vars/kitchen/notes.txt": "ansible_port: 3",
    "group_vars/kitchen/more/30-third.yml": "smell: onions",
    "group_vars/bath": "ansible_user: plumber\n",
    "group_vars/bath.yml": "ansible_user: nobody\n",
    "group_vars/elsewhere.yml": "ansible_user: nobody\n",
    "host_vars/oven.yml": "ansible_port: 2999\nfloor: 9\nsecret: !vault |\n  $ANSIBLE_VAULT\n",
    "host_vars/tap.yml": "",
}


def write_beside(folder, files=BESIDE):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_variables_beside_an_ansible_inventory_win_as_they_do_there(tmp_path):
    write_beside(tmp_path)
    inventory = load(tmp_path, INI, "hosts.ini")
    found = facts(inventory)
    assert inventory.notes == ("left out, not reached by SSH: gateway",)
    # The host's own line is above group_vars, host_vars is above all.
    assert found["cam01.lan"][:5] == ("cam01.lan", 2302, "cook", "/keys/beside", "rpi3")
    assert found["cam01.lan"][-1] == {"floor": 1, "name": "a = b", "where": "everywhere", "smell": "onions"}
    assert found["oven"][1:3] == (2999, "all")
    assert found["oven"][-1]["floor"] == 9
    assert "secret" not in found["oven"][-1]
    assert found["tap"][2] == "plumber"
    assert found["single"][1:3] == (2222, "root")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("all.yml", "- a", "a mapping of variables"),
        ("all.yml", "{", "is not YAML"),
        ("all.yml", "a: !!python/object/apply:os.system [id]", "is not YAML"),
        ("all.yml", "ansible_user: !vault x", "a secret"),
        ("all.yml", "ansible_user: '{{ who }}'", "templates and vaults"),
        ("all.yml", "a: " + "x" * (1 << 20), "is too large"),
    ],
)
def test_variables_beside_that_are_wrong_are_one_clear_error(tmp_path, name, text, says):
    write_beside(tmp_path, {f"group_vars/{name}": text})
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, "x", "hosts", board="rpi4")
    assert says in str(caught.value)


def test_a_file_of_variables_that_is_a_vault_as_a_whole_is_left_closed(tmp_path):
    write_beside(tmp_path, {"group_vars/all.yml": "$ANSIBLE_VAULT;1.1;AES256\n6231\n"})
    assert load(tmp_path, "x", "hosts", board="rpi4").hosts[0].user is None


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(("text", "name"), [(INI, "hosts.ini"), (YAML, "hosts.yml")])
def test_ansible_itself_reads_the_same_out_of_it(tmp_path, text, name, beside):
    """Its own JSON, of the same file, gives the same boards; what differs is a mistake of ours."""
    program = shutil.which(
        "ansible-inventory", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if program is None:
        pytest.skip("ansible-core is not installed")
    if beside:  # what is in a vault it would want to open
        write_beside(tmp_path, {**BESIDE, "host_vars/oven.yml": "ansible_port: 2999"})
    inventory = load(tmp_path, text, name)
    listed = subprocess.run(
        [program, "-i", str(tmp_path / name), "--list"],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "False", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
    )
    assert listed.returncode == 0, listed.stderr
    theirs = load(tmp_path, listed.stdout, "hosts.json")
    assert facts(inventory) == facts(theirs)
    assert inventory.notes == theirs.notes


def test_boards_without_a_type_take_the_one_of_the_command_line(tmp_path):
    with pytest.raises(InventoryError, match="which kind of board is it"):
        load(tmp_path, "tap\n", "hosts")
    assert load(tmp_path, "tap\n", "hosts", board="rpi4").hosts[0].board == "rpi4"


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("[a\nx", "hosts.ini", "a range such as"),
        ("[a:childs]\nx", "hosts.ini", "line 1; expected [group]"),
        ("[a]\nx y", "hosts.ini", "line 2; expected key=value"),
        ("[a:vars]\nx", "hosts.ini", "line 2; expected key=value"),
        ("x y='", "hosts.ini", "quotes in pairs"),
        ("x ansible_port=ssh", "hosts.ini", "ansible_port; expected 1 to 65535"),
        ("x ansible_user='{{ who }}'", "hosts.ini", "templates and vaults"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nx", "hosts.ini", "is part of itself"),
        ("- a", "h.yml", "a mapping"),
        ("all: {hosts: {x: {ansible_user: !vault abc}}}", "h.yml", "a secret"),
        ("all: {host: {x: }}", "h.yml", "hosts, vars and children"),
        ("all: &a\n  children: {b: *a}", "h.yml", "groups within groups"),
        ("all: !!python/object/apply:os.system [id]", "h.yml", "is not YAML"),
        ("all: {hosts: [", "h.yml", "is not YAML"),
        ("{", "hosts", "is not JSON"),
        ('{"a": {"hosts": {"x": 1}}}', "hosts", "a list of names"),
        ('{"a": {"hosts": ["x; rm -rf /"]}}', "hosts", "cannot be the name of a board"),
        ("#!/bin/sh\necho {}", "hosts", "is a program, and is not run"),
    ],
)
def test_what_is_wrong_in_an_ansible_inventory_is_one_clear_error(tmp_path, text, name, says):
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, text, name, board="rpi4")
    assert says in str(caught.value)


def test_what_is_not_used_is_said(tmp_path):
    text = "a ansible_ssh_common_args='-o UserKnownHostsFile=/k -o ProxyJump=b' ansible_password=x\n"
    inventory = load(tmp_path, text, "hosts", board="rpi4")
    assert inventory.hosts[0].known_hosts == Path("/k")
    assert "not used: ansible_password, ansible_ssh_common_args" in inventory.notes[0]
    assert "x" not in json.dumps({k: str(v) for k, v in inventory.hosts[0].vars.items()})


def test_folders_and_what_is_no_text_are_refused(tmp_path):
    with pytest.raises(InventoryError, match="a folder"):
        load_inventory(tmp_path)
    (tmp_path / "hosts").write_bytes(b"\xff\xfe")
    with pytest.raises(InventoryError, match="UTF-8"):
        load_inventory(tmp_path / "hosts")
    with pytest.raises(ArmletError, match="there is no file"):
        load_inventory(tmp_path / "nothing.toml")
