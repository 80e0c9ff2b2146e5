"""Model files give back the same model, the same bytes each time, and refuse whatever is foreign."""

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skops.io

from trader_pipelines.core.errors import DiskFullError, ModelFileError
from trader_pipelines.core.learning.model import DEFAULTS, Model, predict
from trader_pipelines.core.learning.training import train_candidate
from trader_pipelines.stores import model_files
from trader_pipelines_tests.core.made_rows import made_rows, names

FRAME = made_rows(1, 0.8, days=6, rows=200)
PARAMS = replace(DEFAULTS, max_iter=5, min_samples_leaf=50)


def fit(threads: int = 1) -> Model:
    made = train_candidate(
        FRAME, names(FRAME), PARAMS, feature_version="1", synthetic=True, threads=threads
    )
    return made.model


@pytest.fixture(scope="module")
def model() -> Model:
    return fit()


@pytest.fixture(scope="module")
def content(model: Model) -> bytes:
    return model_files.encode(model)


def store(folder: Path, content: bytes) -> str:
    """Put foreign bytes where a model of that content would lie."""
    digest = hashlib.sha256(content).hexdigest()
    model_files.path(folder, digest).write_bytes(content)
    return digest


def rewritten(content: bytes, change) -> bytes:
    """The file with its schema changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                change(schema)
                data = json.dumps(schema).encode()
            new.writestr(name, data)
    return buffer.getvalue()


def test_load_saved_model_is_equal_in_every_field_and_forecast(model: Model, tmp_path: Path):
    digest = model_files.save(model, tmp_path / "models")
    loaded = model_files.load(tmp_path / "models", digest)
    for name in Model.__slots__:
        if name != "classifier":
            assert getattr(loaded, name) == getattr(model, name), name
    assert predict(loaded, FRAME).tolist() == predict(model, FRAME).tolist()
    assert np.unique(predict(loaded, FRAME)).size > 10


def test_save_names_the_file_by_its_content_and_leaves_nothing_else(model: Model, tmp_path: Path):
    digest = model_files.save(model, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == f"{digest}.skops"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def test_save_twice_fitted_models_are_the_same_file(model: Model, tmp_path: Path):
    assert model_files.save(fit(), tmp_path) == model_files.save(model, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_encode_fitted_with_other_threads_gives_the_same_bytes(content: bytes):
    assert model_files.encode(fit(threads=2)) == content


def test_encode_loaded_model_gives_its_bytes_again(content: bytes):
    assert model_files.encode(model_files.decode(content, "here")) == content


def test_encode_in_another_process_gives_the_same_bytes(content: bytes):
    script = (
        "import hashlib; from trader_pipelines_tests.stores.test_model_files import fit;"
        "from trader_pipelines.stores.model_files import encode;"
        "padding = [object() for _ in range(12345)];"
        "print(hashlib.sha256(encode(fit())).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == hashlib.sha256(content).hexdigest()


def test_encode_holds_no_time_and_no_memory_address(content: bytes):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        arrays = [name for name in archive.namelist() if name != "schema.json"]
        schema = json.loads(archive.read("schema.json"))
    assert arrays == [f"{number}.npy" for number in range(1, len(arrays) + 1)]
    ids = {node["__id__"] for node in model_files._nodes(schema) if "__id__" in node}
    assert ids == set(range(1, len(ids) + 1))


def test_encode_uses_every_allowed_type_and_loader_and_no_other(content: bytes):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        nodes = list(model_files._nodes(json.loads(archive.read("schema.json"))))
    assert {f"{node['__module__']}.{node['__class__']}" for node in nodes} == model_files.ALLOWED
    assert {node["__loader__"] for node in nodes} == model_files.LOADERS


def test_load_missing_file_says_so(tmp_path: Path):
    with pytest.raises(ModelFileError, match="No such file") as error:
        model_files.load(tmp_path, "0" * 64)
    assert error.value.where == str(tmp_path / f"{'0' * 64}.skops")


@pytest.mark.parametrize("at", [0, 10_000, -1])
def test_load_flipped_bit_says_damaged(model: Model, tmp_path: Path, at: int):
    digest = model_files.save(model, tmp_path)
    file = model_files.path(tmp_path, digest)
    damaged = bytearray(file.read_bytes())
    damaged[at] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="damaged"):
        model_files.load(tmp_path, digest)


def test_save_over_a_damaged_file_heals_it(model: Model, tmp_path: Path):
    digest = model_files.save(model, tmp_path)
    model_files.path(tmp_path, digest).write_bytes(b"half")
    model_files.save(model, tmp_path)
    assert model_files.load(tmp_path, digest).version == model.version


def test_load_file_of_other_types_names_them(tmp_path: Path):
    from sklearn.linear_model import LogisticRegression

    foreign = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    digest = store(tmp_path, skops.io.dumps({"classifier": foreign}))
    with pytest.raises(
        ModelFileError, match=r"sklearn\.linear_model\._logistic\.LogisticRegression"
    ) as error:
        model_files.load(tmp_path, digest)
    assert "not allowed" in error.value.what


def test_load_planted_call_is_named_and_never_made(content: bytes, tmp_path: Path):
    def plant(schema):
        schema["content"]["base"] = {
            "__class__": "system",
            "__module__": "posix",
            "__loader__": "FunctionNode",
            "content": {"module_path": "posix", "function": "system"},
        }

    digest = store(tmp_path, rewritten(content, plant))
    with pytest.raises(ModelFileError, match=r"not allowed: posix\.system"):
        model_files.load(tmp_path, digest)


def test_load_allowed_name_under_another_loader_is_refused(content: bytes, tmp_path: Path):
    def plant(schema):
        schema["content"]["base"] = {
            "__class__": "dict",
            "__module__": "builtins",
            "__loader__": "FunctionNode",
            "content": {"module_path": "posix", "function": "system"},
        }

    digest = store(tmp_path, rewritten(content, plant))
    with pytest.raises(ModelFileError, match=r"builtins\.dict by FunctionNode"):
        model_files.load(tmp_path, digest)


def test_load_other_format_says_which(content: bytes, tmp_path: Path):
    digest = store(
        tmp_path, rewritten(content, lambda schema: schema["content"]["format"].update(content="2"))
    )
    with pytest.raises(ModelFileError, match="format 2, this code reads 1"):
        model_files.load(tmp_path, digest)


@pytest.mark.parametrize("foreign", [b"", b"not a zip", b"PK\x03\x04 cut off"], ids=str)
def test_load_file_that_is_no_zip_says_so(foreign: bytes, tmp_path: Path):
    with pytest.raises(ModelFileError, match="not a model file"):
        model_files.load(tmp_path, store(tmp_path, foreign))


def test_decode_cut_off_file_says_so(content: bytes):
    with pytest.raises(ModelFileError, match="not a model file") as error:
        model_files.decode(content[: len(content) // 2], "models/x")
    assert error.value.where == "models/x"


def test_save_no_room_says_so_and_leaves_nothing(model: Model, tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(DiskFullError, match="no room"):
            model_files.save(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
