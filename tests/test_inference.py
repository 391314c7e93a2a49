"""Where a network computes, and in which arithmetic."""

import platform

import pytest
import torch

from lmkit import inference
from lmkit.config import make_config

CPU, AUTO = torch.device("cpu"), make_config({"precision": "auto"})
PROBES = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


def a_cpu(monkeypatch, machine, has=(), mkldnn=True, onednn_says=True):
    """A CPU of this kind, of whose instructions torch's probes tell."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: mkldnn)
    for name in PROBES:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in has, raising=False)
    monkeypatch.setattr(
        torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn_says, raising=False
    )


@pytest.mark.parametrize(
    "machine, has, mkldnn, onednn_says, expected",
    [
        ("x86_64", PROBES[:1], True, True, "bf16"),
        ("x86_64", PROBES[1:], True, True, "bf16"),
        ("x86_64", (), True, True, "float32"),  # AVX2 and AVX-512 imitate it
        ("AMD64", (), True, True, "float32"),
        ("x86_64", PROBES, False, True, "float32"),
        ("aarch64", (), True, True, "bf16"),
        ("aarch64", (), True, False, "float32"),
        ("arm64", (), False, True, "float32"),
    ],
)
def test_bf16_is_taken_only_where_the_cpu_computes_in_it(
    monkeypatch, machine, has, mkldnn, onednn_says, expected
):
    a_cpu(monkeypatch, machine, has, mkldnn, onednn_says)
    assert inference.pick_precision(AUTO, CPU) == expected


def test_a_torch_without_any_of_the_probes_computes_in_float32(monkeypatch):
    a_cpu(monkeypatch, "arm64")
    for name in PROBES:
        monkeypatch.delattr(torch.cpu, name)

    def missing():
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no such attribute")

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", missing, raising=False)
    assert inference.pick_precision(AUTO, CPU) == "float32"


@pytest.mark.parametrize("native, expected", [(True, "bf16"), (False, "float32")])
def test_a_gpu_that_imitates_bf16_computes_in_float32(monkeypatch, native, expected):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert inference.pick_precision(AUTO, torch.device("cuda")) == expected


def test_what_the_settings_state_is_not_asked_for(monkeypatch):
    a_cpu(monkeypatch, "x86_64")
    assert inference.pick_precision(make_config({"precision": "bf16"}), CPU) == "bf16"


def test_float32_on_a_gpu_is_not_tf32_and_nothing_else_is_touched():
    gpu, cudnn = torch.device("cuda"), torch.backends.cudnn  # the flag is there without a GPU too
    assert cudnn.allow_tf32, "torch's default, which nothing here may change"
    with inference.true_float32(make_config({"precision": "float32"}), gpu):
        assert not cudnn.allow_tf32
    assert cudnn.allow_tf32
    with (
        pytest.raises(KeyError),
        inference.true_float32(make_config({"precision": "float32"}), gpu),
    ):
        raise KeyError
    assert cudnn.allow_tf32
    with inference.true_float32(make_config({"precision": "bf16"}), gpu):
        assert cudnn.allow_tf32
    with inference.true_float32(make_config({"precision": "float32"}), CPU):
        assert cudnn.allow_tf32
