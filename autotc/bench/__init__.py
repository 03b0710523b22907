"""What a policy does to time and memory: prefill, tokens, caches, beside what its FLOPs promise."""

from autotc.bench.calibration import CalibrationSettings, calibrate_model
from autotc.bench.cases import Case, Requests, sample_cases, synthetic_cases
from autotc.bench.generation import prefill_flops
from autotc.bench.measure import measure_case, measure_cases
from autotc.bench.run import EMBEDDED_TOKENS, TOKENS, bench, calibrate
from autotc.records.bench import Bench, BenchRow, LatencyCalibration, SideMeasurement

__all__ = [
    "EMBEDDED_TOKENS",
    "TOKENS",
    "Bench",
    "BenchRow",
    "CalibrationSettings",
    "Case",
    "LatencyCalibration",
    "Requests",
    "SideMeasurement",
    "bench",
    "calibrate",
    "calibrate_model",
    "measure_case",
    "measure_cases",
    "prefill_flops",
    "sample_cases",
    "synthetic_cases",
]
