"""A form with a picture is read as `curl -F image=@cat.png` sends it, and any other body is refused by name."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from device_agent.errors import DataError
from device_agent.serve.form import TYPE, read_form
from device_agent.store.store import Store
from tests.device_agent.serve.served import running
from tests.device_agent.store.deploying import deploy, package

BOUNDARY = f"{TYPE}; boundary=xYz"


def field(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--xYz--\r\n"


def test_the_image_and_the_options_are_found() -> None:
    image = bytes(range(256)) + b"\r\n--xY\r\n\r\n"
    form = read_form(field("top", b"3") + field("image", image, '; filename="a b.png"') + END, BOUNDARY)
    assert form.image == image
    assert form.options == {"top": "3"}
    quoted = read_form(field("image", b"x") + END, f'{TYPE}; charset=utf-8; BOUNDARY="xYz"')
    assert quoted.image == b"x"


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        (b"", BOUNDARY, "not whole"),
        (field("image", b"x"), BOUNDARY, "not whole"),
        (b"before" + field("image", b"x") + END, BOUNDARY, "not whole"),
        (field("image", b"x") * 2 + END, BOUNDARY, "given twice"),
        (b"".join(field(f"f{n}", b"x") for n in range(40)) + END, BOUNDARY, "not whole"),
        (field("picture", b"x") + END, BOUNDARY, "no image.*picture"),
        (field("image", b"") + END, BOUNDARY, "no image"),
        (field("image", b"x") + field("top", b"1" * 2000) + END, BOUNDARY, "too long"),
        (b"--xYz\r\n\r\nx\r\n" + END, BOUNDARY, "no end of its headers|no name"),
        (b"--xYz\r\nX: " + b"y" * 2000 + b"\r\n\r\nx\r\n" + END, BOUNDARY, "no end of its headers"),
        (field("image", b"x") + END, TYPE, "where its fields end"),
    ],
)
def test_what_is_no_such_form_is_refused(body: bytes, content_type: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_form(body, content_type)


@given(
    st.lists(
        st.sampled_from([END, field("image", b"x"), field("top", b"1"), b"\r\n", b"--xYz", b"\r\n\r\n", b"a"])
    )
)
def test_whatever_comes_is_a_form_or_refused(pieces: list[bytes]) -> None:
    try:
        form = read_form(b"".join(pieces), BOUNDARY)
    except DataError:
        return
    assert form.image


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_sends_a_picture_in_a_form(tmp_path, monkeypatch, socket_folder) -> None:
    monkeypatch.setenv("ARMLET_HOME", str(tmp_path))
    deploy(Store(tmp_path / "store"), package())
    image = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "PNG")
    (tmp_path / "x.png").write_bytes(image.getvalue())
    path = socket_folder / "serve.sock"
    address = "http://localhost/v1/models/net:predict"

    def curl(*arguments: str) -> bytes:
        command = ["curl", "--silent", "--unix-socket", str(path), *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout

    with running(path):
        plain = curl("--data-binary", "@x.png", "--header", "Content-Type: image/png", address)
        assert b'"score"' in plain
        assert curl("-F", "image=@x.png", address) == plain
        assert (
            curl("-F", "image=@x.png", "-F", "top=1", address).count(b'"label"') < plain.count(b'"label"') + 1
        )
        assert b"no image" in curl("-F", "picture=@x.png", address)
        assert b"unknown option" in curl("-F", "image=@x.png", "-F", "pot=1", address)
        assert b"stands in the form" in curl("-F", "image=@x.png", "-F", "top=1", address + "?top=2")
