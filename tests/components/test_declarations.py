from __future__ import annotations

from importlib.util import find_spec

import pytest
import timm.optim

from zoo_timm._optimizers import optimizer_components


def test_timm_list_is_what_timm_says():
    told = {
        name: " ".join(text.split())
        for name, text in timm.optim.list_optimizers(with_description=True)
    }
    assert {c.name: c.summary for c in optimizer_components()} == told
    assert [c.name for c in optimizer_components()] == timm.optim.list_optimizers()


def test_timm_arguments_are_what_timm_says():
    for component in optimizer_components():
        info = timm.optim.get_optimizer_info(component.name)
        names = {param.name for param in component.params}
        assert ("momentum" in names) == info.has_momentum
        assert ("eps" in names) == info.has_eps
        assert sum(name.startswith("beta") for name in names) == info.has_betas * info.num_betas


def test_without_timm_there_is_nothing(monkeypatch):
    import zoo_timm._optimizers as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert list(module.optimizer_components()) == []


@pytest.mark.parametrize(
    ("name", "package"),
    [("fusedadam", "apex"), ("bnblion", "bitsandbytes"), ("kron", "opt_einsum")],
)
def test_components_of_other_packages_say_so(name, package):
    (component,) = [c for c in optimizer_components() if c.name == name]
    assert component.requires == (package,)


def test_second_order_is_tagged():
    tagged = {c.name for c in optimizer_components() if "needs-create-graph" in c.tags}
    assert tagged == {
        name
        for name in timm.optim.list_optimizers()
        if timm.optim.get_optimizer_info(name).second_order
    }


def test_apex_without_apex_is_a_clear_error():
    if find_spec("apex"):
        pytest.skip("apex is installed")
    import torch

    from zoo.errors import UsageError
    from zoo_timm.optimizers import build

    group = {"params": [torch.zeros(2, requires_grad=True)], "lr": 0.1}
    with pytest.raises(UsageError, match="fusedadam"):
        build([group], name="fusedadam", lr=0.1, weight_decay=0.0)
