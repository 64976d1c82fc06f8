from __future__ import annotations

from insight_cloud.core.report import Check
from insight_cloud.tuning import weights
from insight_cloud.tuning.weights import Image


def test_images_are_told_that_are_large_or_not_made_ready() -> None:
    found = weights.images(
        [
            Image("large.jpg", 900_000, 500_000),
            Image("poor.jpg", 520_000, 500_000),
            Image("raw.png", 40_000, None),
            Image("fine.jpg", 90_000, 30_000),
        ],
        large_bytes=200_000,
        saving_percent=20,
    )
    assert [(one.kind, one.target, one.severity) for one in found] == [
        ("large", "large.jpg", "advice"),
        ("large", "poor.jpg", "warn"),
        ("unoptimized", "raw.png", "warn"),
    ]


def test_what_assets_complains_of_becomes_findings_with_a_remedy() -> None:
    found = weights.bundle(
        [
            Check("assets.initial", "fail", "400 of 300 KiB"),
            Check("assets.duplicates", "warn", "a = b"),
            Check("assets.vendor", "pass", "1 of 500 KiB"),
        ]
    )
    assert [(one.kind, one.severity) for one in found] == [
        ("budget", "fail"),
        ("duplicate", "warn"),
    ]
    assert all(one.remedy for one in found)
