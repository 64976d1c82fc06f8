"""What Cloudflare and CloudFront are told, and what is made of their answers."""

from __future__ import annotations

import pytest

from insight_cloud.cdn import Cloudflare, CloudFront
from insight_cloud.cdn.cloudfront import paths
from insight_cloud.core import sigv4
from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable
from tests.cdn.fronts import DISTRIBUTION, KEY, TOKEN, ZONE, CloudflareFront, CloudFrontFront

URLS = [f"https://example.com/page/{number}" for number in range(250)]


class Clock:
    """Counts the seconds that were slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def cloudflare_at(
    front: CloudflareFront, *, token: str = TOKEN, clock: Clock | None = None
) -> Cloudflare:
    return Cloudflare(token, ZONE, api=front.api, sleep=(clock or Clock()).sleep)


def cloudfront_at(
    front: CloudFrontFront, *, key: sigv4.Key = KEY, clock: Clock | None = None
) -> CloudFront:
    return CloudFront(DISTRIBUTION, key, api=front.url, sleep=(clock or Clock()).sleep)


async def test_addresses_go_by_the_hundred(cloudflare: CloudflareFront) -> None:
    await cloudflare_at(cloudflare).purge(URLS)
    assert cloudflare.urls == URLS
    assert [len(body["files"]) for _, body in cloudflare.purged] == [100, 100, 50]
    assert {kind for kind, _ in cloudflare.purged} == {"invalidate_cache"}


async def test_a_hard_purge_throws_away(cloudflare: CloudflareFront) -> None:
    await Cloudflare(TOKEN, ZONE, mode="hard", api=cloudflare.api).purge(URLS[:1])
    assert cloudflare.purged == [("purge_cache", {"files": URLS[:1]})]


async def test_tags_and_everything(cloudflare: CloudflareFront) -> None:
    caches = cloudflare_at(cloudflare)
    await caches.purge_tags(["site", "docs"])
    await caches.purge_everything()
    await caches.purge([])
    assert cloudflare.purged == [
        ("invalidate_cache", {"tags": ["site", "docs"]}),
        ("invalidate_cache", {"purge_everything": True}),
    ]


async def test_too_many_calls_are_waited_for(cloudflare: CloudflareFront) -> None:
    clock = Clock()
    cloudflare.faults = [(429, {"retry-after": "7"}), (503, {})]
    await cloudflare_at(cloudflare, clock=clock).purge(URLS[:1])
    assert cloudflare.urls == URLS[:1]
    assert clock.slept[0] == 7
    assert len(clock.slept) == 2


async def test_a_long_pause_is_not_waited_for(cloudflare: CloudflareFront) -> None:
    clock = Clock()
    cloudflare.faults = [(429, {"retry-after": "3600"})]
    with pytest.raises(RateLimited, match="3600 s") as caught:
        await cloudflare_at(cloudflare, clock=clock).purge(URLS[:1])
    assert caught.value.retry_after == 3600
    assert clock.slept == []


async def test_lasting_faults_are_unavailable(cloudflare: CloudflareFront) -> None:
    cloudflare.faults = [(500, {})] * 9
    with pytest.raises(Unavailable, match="500"):
        await cloudflare_at(cloudflare).purge(URLS[:1])
    assert len(cloudflare.requests) == 5


async def test_a_wrong_token_is_refused_and_not_repeated(cloudflare: CloudflareFront) -> None:
    with pytest.raises(Refused, match="Authentication error") as caught:
        await cloudflare_at(cloudflare, token="hidden").purge(URLS[:1])
    assert "hidden" not in str(caught.value)
    assert len(cloudflare.requests) == 1


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="ConnectError"):
        await Cloudflare(
            TOKEN, ZONE, api="http://127.0.0.1:9/client/v4", sleep=Clock().sleep
        ).purge(URLS[:1])
    with pytest.raises(Unavailable, match="ConnectError"):
        await CloudFront(DISTRIBUTION, KEY, api="http://127.0.0.1:9", sleep=Clock().sleep).purge(
            URLS[:1]
        )


async def test_cloudfront_gets_paths_and_a_signature(cloudfront: CloudFrontFront) -> None:
    await cloudfront_at(cloudfront).purge(
        ["https://example.com/", "https://example.com/a%20b/ü?x=1", "https://example.com/"]
    )
    assert cloudfront.batches == [["/", "/a%20b/ü"]]


async def test_every_purge_is_a_new_one_and_a_repeated_request_is_not(
    cloudfront: CloudFrontFront,
) -> None:
    caches = cloudfront_at(cloudfront)
    await caches.purge(URLS[:1])
    cloudfront.faults = [(500, {})]
    await caches.purge(URLS[:1])
    assert len(set(cloudfront.references)) == 2


@pytest.mark.parametrize("count", [501, 3_000])
def test_very_many_addresses_become_a_pattern(count: int) -> None:
    many = [f"https://example.com/docs/{number:05}.html" for number in range(count)]
    assert paths(many) == ["/docs/*"]
    assert paths([*many, "https://example.com/index.html"]) == ["/*"]
    assert len(paths(many[:500])) == 500


async def test_a_wrong_secret_is_refused(cloudfront: CloudFrontFront) -> None:
    with pytest.raises(Refused, match="SignatureDoesNotMatch") as caught:
        await cloudfront_at(cloudfront, key=sigv4.Key("AKIATESTS", "hidden")).purge(URLS[:1])
    assert "hidden" not in str(caught.value)


async def test_a_distribution_that_is_not_there_is_refused(cloudfront: CloudFrontFront) -> None:
    with pytest.raises(Refused, match="NoSuchDistribution"):
        await CloudFront("EWRONGNAME", KEY, api=cloudfront.url).purge(URLS[:1])


async def test_cloudfronts_faults_are_tried_again(cloudfront: CloudFrontFront) -> None:
    clock = Clock()
    cloudfront.faults = [(503, {}), (429, {})]
    await cloudfront_at(cloudfront, clock=clock).purge(URLS[:1])
    assert len(clock.slept) == 2
    cloudfront.faults = [(429, {})] * 9
    with pytest.raises(RateLimited):
        await cloudfront_at(cloudfront, clock=clock).purge(URLS[:1])


def test_names_are_checked_before_anybody_is_asked() -> None:
    with pytest.raises(SettingsError, match="32 hexadecimal"):
        Cloudflare(TOKEN, "../../accounts")
    with pytest.raises(SettingsError, match="distribution"):
        CloudFront("../x", KEY)
