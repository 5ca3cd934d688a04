"""`evento render kubernetes`, as a person meets it."""

from pathlib import Path

import pytest
import yaml
from program import evento

BANK = Path(__file__).parents[2] / "examples" / "bank" / "bank.py"
RENDER = ("render", "kubernetes", str(BANK))
WITH_IMAGE = (*RENDER, "--image", "bank/bank-functions=bank:1")


def test_everything_goes_to_the_standard_output_or_into_files_alike(tmp_path: Path) -> None:
    printed = evento(*WITH_IMAGE)
    assert printed.returncode == 0, printed
    written = evento(*WITH_IMAGE, "-o", str(tmp_path / "a" / "cluster"))
    files = sorted((tmp_path / "a" / "cluster").iterdir())
    assert [file.name for file in files] == ["0-definitions.yaml", "1-evento.yaml", "2-bank.yaml"]
    assert "".join(file.read_text() for file in files) == printed.stdout
    count = len(list(yaml.safe_load_all(printed.stdout)))
    assert f"{count} objects in 3 files" in written.stderr and written.stdout == ""


def test_without_a_key_it_is_said_that_nothing_is_signed(tmp_path: Path) -> None:
    assert "not signed" in evento(*WITH_IMAGE).stderr
    public = evento("keys", "make", str(tmp_path / "k.pem")).stdout.strip()
    signed = evento(*WITH_IMAGE, "--key", str(tmp_path / "k.pem"))
    assert "not signed" not in signed.stderr and public in signed.stdout and "PRIVATE" not in signed.stdout


def test_options_go_where_they_say() -> None:
    objects = list(yaml.safe_load_all(evento(*WITH_IMAGE, "--node-image", "e:7", "--namespace", "es", "--storage", "5Gi").stdout))
    (node,) = (each for each in objects if each["kind"] == "StatefulSet")
    assert node["metadata"]["namespace"] == "es"
    assert node["spec"]["template"]["spec"]["containers"][0]["image"] == "e:7"
    assert node["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "5Gi"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (RENDER, 1, "in a cluster it needs an image: render with --image bank/bank-functions=IMAGE"),
        ((*RENDER, "--image", "bank/other=x"), 1, "there is no Function bank/other here"),
        ((*RENDER, "--image", "bank"), 2, "is not NAMESPACE/FUNCTION=IMAGE"),
        ((*WITH_IMAGE, "--namespace", "bank"), 1, "is that of Evento's own node"),
        ((*WITH_IMAGE, "--key", "nothing.pem"), 1, "the signing key nothing.pem: No such file"),
        (("render", "kubernetes", "nothing.yaml"), 1, "there is no such file or folder"),
    ],
)
def test_what_cannot_be_rendered_is_told(arguments: tuple[str, ...], code: int, message: str) -> None:
    done = evento(*arguments)
    assert done.returncode == code and message in " ".join(done.stderr.split()), done
    assert done.stdout == ""
