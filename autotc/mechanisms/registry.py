"""The explicit registry: one line per mechanism."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from autotc.documents import first_fault
from autotc.errors import MechanismError, PolicyError, quote
from autotc.mechanisms.attention.attention_rank import AttentionRank
from autotc.mechanisms.attention.btp import Btp
from autotc.mechanisms.attention.cls_attention import ClsAttention
from autotc.mechanisms.attention.clse import Clse
from autotc.mechanisms.attention.dash_audio import DashAudio
from autotc.mechanisms.attention.earlytom import EarlyTom
from autotc.mechanisms.attention.fastv import FastV
from autotc.mechanisms.attention.fitprune import FitPrune
from autotc.mechanisms.attention.globalcom2 import GlobalCom2
from autotc.mechanisms.attention.hiprune import HiPrune
from autotc.mechanisms.attention.hired import HiRed
from autotc.mechanisms.attention.holov import HoloV
from autotc.mechanisms.attention.id_selection import IdSelection
from autotc.mechanisms.attention.illava import ILlava
from autotc.mechanisms.attention.omnizip_audio import OmniZipAudio
from autotc.mechanisms.attention.prumerge import PruMerge
from autotc.mechanisms.attention.prunesid import PruneSid
from autotc.mechanisms.attention.pyramiddrop import PyramidDrop
from autotc.mechanisms.attention.received_attention import ReceivedAttention
from autotc.mechanisms.attention.rep_shift import RepShift
from autotc.mechanisms.attention.tokencarve import TokenCarve
from autotc.mechanisms.attention.visionzip import VisionZip
from autotc.mechanisms.attention.vispruner import VisPruner
from autotc.mechanisms.attention.vscan import VScan
from autotc.mechanisms.attention.window_attention import WindowAttention
from autotc.mechanisms.attention.withdraw import Withdraw
from autotc.mechanisms.contract import InputMechanism, MechanismBase
from autotc.mechanisms.control.random import Random
from autotc.mechanisms.control.uniform_stride import UniformStride
from autotc.mechanisms.query.adafv import AdaFV
from autotc.mechanisms.query.anchorprune import AnchorPrune
from autotc.mechanisms.query.cdpruner import CDPruner
from autotc.mechanisms.query.dual_attention import DualAttention
from autotc.mechanisms.query.eadp import Eadp
from autotc.mechanisms.query.ivc_prune import IvcPrune
from autotc.mechanisms.query.mmtok import MMTok
from autotc.mechanisms.query.omniscope_audio import OmniScopeAudio
from autotc.mechanisms.query.omniscope_video import OmniScopeVideo
from autotc.mechanisms.query.pooled_query import PooledQuery
from autotc.mechanisms.query.sparsevlm import SparseVLM
from autotc.mechanisms.query.speechprune import SpeechPrune
from autotc.mechanisms.query.text_attention import TextAttention
from autotc.mechanisms.query.text_aware import TextAware
from autotc.mechanisms.query.text_similarity import TextSimilarity
from autotc.mechanisms.query.trim import Trim
from autotc.mechanisms.scores import Score
from autotc.mechanisms.similarity.a_tome import ATome
from autotc.mechanisms.similarity.affinity_pooling import AffinityPooling
from autotc.mechanisms.similarity.aim import Aim
from autotc.mechanisms.similarity.apet import Apet
from autotc.mechanisms.similarity.dart import Dart
from autotc.mechanisms.similarity.dart_embedding import DartEmbedding
from autotc.mechanisms.similarity.dash_video import DashVideo
from autotc.mechanisms.similarity.divprune import DivPrune
from autotc.mechanisms.similarity.dtd import Dtd
from autotc.mechanisms.similarity.dymu import DyMU
from autotc.mechanisms.similarity.dyn_ttm import DynTtm
from autotc.mechanisms.similarity.dyntok import DynTok
from autotc.mechanisms.similarity.earlytom_frames import EarlyTomFrames
from autotc.mechanisms.similarity.evs import Evs
from autotc.mechanisms.similarity.fastadasp import FastAdaSP
from autotc.mechanisms.similarity.fastvid import FastVid
from autotc.mechanisms.similarity.ficoco import FiCoCo
from autotc.mechanisms.similarity.flashvid import FlashVid
from autotc.mechanisms.similarity.floc import Floc
from autotc.mechanisms.similarity.folder import Folder
from autotc.mechanisms.similarity.framefusion import FrameFusion
from autotc.mechanisms.similarity.g_prune import GPrune
from autotc.mechanisms.similarity.holitom import HoliTom
from autotc.mechanisms.similarity.mob import Mob
from autotc.mechanisms.similarity.mustdrop import MustDrop
from autotc.mechanisms.similarity.omnizip_video import OmniZipVideo
from autotc.mechanisms.similarity.otprune import OTPrune
from autotc.mechanisms.similarity.ott_vid import OttVid
from autotc.mechanisms.similarity.pact_dbdpc import PactDbdpc
from autotc.mechanisms.similarity.pixelprune import PixelPrune
from autotc.mechanisms.similarity.prunevid import PruneVid
from autotc.mechanisms.similarity.scissor import Scissor
from autotc.mechanisms.similarity.scope import Scope
from autotc.mechanisms.similarity.seats import Seats
from autotc.mechanisms.similarity.sttm import Sttm
from autotc.mechanisms.similarity.tango import Tango
from autotc.mechanisms.similarity.tome import ToMe
from autotc.mechanisms.similarity.unified_st import UnifiedSt
from autotc.mechanisms.similarity.vidcom2 import VidCom2
from autotc.mechanisms.transformation.avg_pool import AvgPool
from autotc.mechanisms.transformation.downsample import Downsample
from autotc.mechanisms.transformation.frequency import Frequency
from autotc.mechanisms.transformation.slowfast import SlowFast
from autotc.mechanisms.transformation.strided_time import StridedTime
from autotc.names import nearest

_CLASSES: tuple[type[MechanismBase], ...] = (
    AttentionRank,
    Btp,
    ClsAttention,
    Clse,
    DashAudio,
    EarlyTom,
    FastV,
    FitPrune,
    GlobalCom2,
    HiPrune,
    HiRed,
    HoloV,
    ILlava,
    IdSelection,
    OmniZipAudio,
    PruMerge,
    PruneSid,
    PyramidDrop,
    ReceivedAttention,
    RepShift,
    TokenCarve,
    VisionZip,
    VisPruner,
    VScan,
    WindowAttention,
    Withdraw,
    Random,
    UniformStride,
    AdaFV,
    AnchorPrune,
    CDPruner,
    DualAttention,
    IvcPrune,
    Eadp,
    MMTok,
    OmniScopeAudio,
    OmniScopeVideo,
    PooledQuery,
    SparseVLM,
    SpeechPrune,
    TextAttention,
    TextAware,
    TextSimilarity,
    Trim,
    ATome,
    AffinityPooling,
    Aim,
    Apet,
    Dart,
    DartEmbedding,
    DashVideo,
    DivPrune,
    Dtd,
    DyMU,
    DynTtm,
    DynTok,
    EarlyTomFrames,
    Evs,
    FastAdaSP,
    FastVid,
    FiCoCo,
    FlashVid,
    Floc,
    Folder,
    FrameFusion,
    GPrune,
    HoliTom,
    Mob,
    MustDrop,
    OmniZipVideo,
    OttVid,
    OTPrune,
    PactDbdpc,
    PixelPrune,
    PruneVid,
    Scissor,
    Scope,
    Seats,
    Sttm,
    Tango,
    ToMe,
    UnifiedSt,
    VidCom2,
    AvgPool,
    Downsample,
    Frequency,
    SlowFast,
    StridedTime,
)


def by_name(classes: Iterable[type[MechanismBase]]) -> dict[str, type[MechanismBase]]:
    """Mechanism classes by the name that policies use, family by family.

    Raises:
        MechanismError: two classes have one name.
    """
    out: dict[str, type[MechanismBase]] = {}
    for cls in sorted(classes, key=lambda cls: (cls.family, cls.name)):
        if cls.name in out:
            raise MechanismError(
                f"registry: {out[cls.name].__name__} and {cls.__name__} are both named {cls.name!r}; give each"
                " mechanism a name of its own, and register it once"
            )
        out[cls.name] = cls
    return out


PRESETS_ALONE = frozenset(
    {"dash", "fastervlm", "ltbm", "omniscope", "omnizip", "prumerge_plus", "top_k_audio", "v2drop", "vtw"}
)
"""Presets that are no mechanism of the same name: what people may write in a mechanism's place."""
MECHANISMS: dict[str, type[MechanismBase]] = by_name(_CLASSES)
"""Mechanism classes by the name policies use, family by family."""


def build_mechanism(
    name: str,
    params: Mapping[str, object] | None = None,
    keep_ratio: float | None = None,
    also: Sequence[Score] = (),
) -> MechanismBase:
    """A mechanism by name.

    Args:
        name: as policies use it.
        params: its parameters; what is missing takes the published value.
        keep_ratio: in (0, 1], of the step it is built for; None where that does not matter.
        also: scores that are asked for beside what it needs itself.

    Raises:
        PolicyError: the name is unknown or a parameter is wrong.
    """
    if name not in MECHANISMS:
        raise PolicyError(f"mechanism: {_unknown(name)}")
    try:
        return MECHANISMS[name](params, keep_ratio, also)
    except ValidationError as error:
        known = ", ".join(MECHANISMS[name].Params.model_fields) or "none"
        raise PolicyError(
            f"params.{first_fault(error, MECHANISMS[name].Params)}; parameters of {name}: {known}"
        ) from error


def _unknown(name: str) -> str:
    """That a mechanism is not known, and what may have been meant."""
    if name in PRESETS_ALONE:
        return f"{name} is a preset; autotc presets {name} writes it as a policy"
    listed = "autotc presets lists the published methods and what they consist of"
    hint = nearest(name, MECHANISMS, listed=0) or listed
    return f"unknown mechanism {quote(name)}; {hint}"


def input_mechanism(name: str, params: Mapping[str, object] | None = None) -> InputMechanism:
    """A mechanism that makes items smaller before they are encoded; arguments and errors as of `build_mechanism`.

    Raises:
        PolicyError: it reduces tokens, which do not exist at the input.
    """
    mechanism = build_mechanism(name, params)
    if not isinstance(mechanism, InputMechanism):
        raise PolicyError(f"mechanism: {name} reduces tokens; one that acts at the input is needed here")
    return mechanism
