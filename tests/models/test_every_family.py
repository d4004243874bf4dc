"""Every family of timm and every model of torchvision: build, freeze, train, unfreeze.

Slow: some families have no small member.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import zoo_timm
import zoo_torchvision
from zoo.errors import UsageError
from zoo.network.freeze import set_modes, set_trainable
from zoo.network.head import find_head, proves_out
from zoo_timm.models import build as timm_build
from zoo_torchvision.models import build as torchvision_build

pytestmark = pytest.mark.slow

K = 7

# The member with the fewest parameters, of those with a classifier, in timm 1.0.31.
SMALLEST = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "lcnet_035",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}

# They train without the feature cache.
SEVERAL_HEADS = {
    "crossvit_tiny_240",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "levit_128s",
    "repvit_m1",
    "swiftformer_xs",
    "volo_d1_224",
}
FLATTENED_AFTER_THE_HEAD = {
    "dla46x_c",
    "dpn48b",
    "resnetv2_18",
    "squeezenet1_0",
    "squeezenet1_1",
}


def families() -> dict[str, str]:
    """One model of each family of the installed timm; of a family that is new, the first."""
    names: dict[str, list[str]] = {}
    for component in zoo_timm.model_components():
        names.setdefault(component.tags[0], []).append(component.name)
    return {
        family: SMALLEST[family] if SMALLEST.get(family) in members else members[0]
        for family, members in names.items()
    }


def built(build, architecture):
    """The network at 64 pixels, or at the size that its refusal names."""
    size = 64
    try:
        model = build(architecture, num_classes=K, channels=3, image_size=size)
    except UsageError as error:
        if "does not take images" not in error.what:
            raise
        size = int(error.hint.removeprefix("--img-size "))
        model = build(architecture, num_classes=K, channels=3, image_size=size)
    return model, torch.rand(2, 3, size, size)


def check(build, architecture):
    model, images_BCHW = built(build, architecture)
    head = find_head(model, num_classes=K)
    assert (len(head) > 1) is (architecture in SEVERAL_HEADS)
    proved = len(head) == 1 and architecture not in FLATTENED_AFTER_THE_HEAD
    assert proves_out(model, head[0], images_BCHW) is proved
    target_B = torch.tensor([0, K - 1])

    def step():
        model.zero_grad()
        logits_BK = model(images_BCHW)
        assert logits_BK.shape == (2, K)
        assert torch.isfinite(logits_BK).all()
        F.cross_entropy(logits_BK, target_B).backward()
        return {name for name, p in model.named_parameters() if p.grad is not None}

    def inside(name):
        return any(name.startswith(f"{h}.") for h in head)

    everything = {name for name, _ in model.named_parameters()}
    frozen = {n: t.clone() for n, t in model.state_dict().items() if not inside(n)}
    set_trainable(model, head)
    set_modes(model, head, hold_statistics=True)
    assert step() == {name for name in everything if inside(name)}
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in frozen.items())

    set_trainable(model, ("",))
    set_modes(model, ("",), hold_statistics=True)
    trained = step()
    assert {name for name in everything if inside(name)} < trained
    assert len(trained) > 0.9 * len(everything)


@pytest.mark.parametrize("architecture", families().values(), ids=families().keys())
def test_every_family_of_timm(architecture):
    check(timm_build, architecture)


@pytest.mark.parametrize(
    "architecture", [component.name for component in zoo_torchvision.zoo_components()]
)
def test_every_model_of_torchvision(architecture):
    check(torchvision_build, architecture)


@pytest.mark.parametrize(
    "architecture", [c.name for c in zoo_timm.model_components() if c.name.endswith("_enc")]
)
def test_encoders_without_a_classifier_are_refused_as_such(architecture):
    with pytest.raises(UsageError, match="is no classifier"):
        built(timm_build, architecture)
