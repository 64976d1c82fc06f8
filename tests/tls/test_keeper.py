from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from insight_cloud.core.errors import Missing, Refused, SettingsError
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.store import Store
from tests.tls.authority import DAY, leaf
from tests.tls.issuers import Authority, Clock


def keeper(path: Path, issuer: Authority, *names: str, **more: object) -> Keeper:
    wanted = Wanted(names or ("a.example",))
    return Keeper(Store(path), issuer, wanted, now=issuer.clock, **more)  # type: ignore[arg-type]


async def test_after_a_plan_was_applied_the_next_one_is_empty(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = ["sh", "-c", f"echo run >> {out}"]
    kept = keeper(tmp_path / "s", Authority(Clock()), hooks=[hook])
    plan = kept.plan(await kept.read())
    assert [str(change) for change in plan] == [
        "+ certificate for a.example  (there is no certificate yet)",
        f"* {' '.join(hook)}  (tell the servers)",
    ]
    await kept.apply(plan)
    assert not kept.plan(await kept.read())
    assert out.read_text() == "run\n"


@pytest.mark.parametrize("advises", [False, True])
async def test_it_is_renewed_when_it_is_due_and_not_before(tmp_path: Path, advises: bool) -> None:  # noqa: FBT001
    issuer = Authority(Clock(), advises=advises)
    kept = keeper(tmp_path, issuer)
    await kept.renew()
    issuer.clock.now += 50 * DAY
    plan, _ = await kept.renew()
    assert not plan
    due = kept.decide(await kept.read()).at
    issuer.clock.now = due
    plan, _ = await kept.renew()
    (change,) = plan
    assert "are left" in change.reason
    assert ("authority advises" in change.reason) is advises
    assert change.before["names"] == ["a.example"]
    assert len(issuer.issued) == 2


async def test_other_names_are_a_reason(tmp_path: Path) -> None:
    issuer = Authority(Clock())
    await keeper(tmp_path, issuer).renew()
    more = keeper(tmp_path, issuer, "a.example", "b.example")
    (change,) = more.plan(await more.read())
    assert change.reason == "it is not for b.example"
    await more.renew()
    current = more.look().certificate
    assert current is not None
    assert set(current.names) == {"a.example", "b.example"}


async def test_the_operator_is_told_and_a_deaf_channel_does_not_stop_it(tmp_path: Path) -> None:
    issuer, told = Authority(Clock()), list[str]()

    async def notify(subject: str, text: str) -> None:
        told.append(f"{subject}: {text}")
        if len(told) == 1:
            raise RuntimeError("no route")

    kept = keeper(tmp_path, issuer, notify=notify)
    await kept.renew()
    issuer.failing = lambda _: Refused("not today")
    issuer.clock.now += 62 * DAY
    with pytest.raises(Refused):
        await kept.renew()
    issuer.clock.now += timedelta(minutes=1)
    await kept.renew()  # in the pause: nothing is tried, but the channel is tried again
    await kept.renew()
    assert len(told) == 2
    assert told[1].startswith("The certificate for a.example is not being renewed: It ends at")
    assert "1 tries have failed: not today. Run `insight tls renew`" in told[1]


async def test_a_first_certificate_that_never_comes_is_told_too(tmp_path: Path) -> None:
    issuer, told = Authority(Clock(), failing=lambda _: Refused("no")), list[str]()

    async def notify(subject: str, _: str) -> None:
        told.append(subject)

    kept = keeper(tmp_path, issuer, notify=notify)
    for _ in range(5):
        issuer.clock.now += timedelta(hours=7)
        with pytest.raises(Refused):
            await kept.renew()
    assert len(told) == 1


async def test_files_are_imported_and_the_history_gone_back_to(tmp_path: Path) -> None:
    clock = Clock()
    kept = Keeper(Store(tmp_path), None, Wanted(("a.example",)), hooks=[["true"]], now=clock)
    first, second = leaf("a.example"), leaf("a.example")
    await kept.install(first.chain, first.key_bytes, source="one")
    clock.now += DAY
    await kept.install(second.chain, second.key_bytes, source="two")
    assert [v.meta.source for v in kept.store.history()] == ["two", "one"]
    report = await kept.use(kept.store.history()[1].name)
    assert report.status == "pass"
    current = kept.store.current()
    assert current is not None
    assert current.meta.source == "one"
    assert not kept.plan(kept.look())


async def test_what_we_did_not_issue_is_not_ours_to_revoke(tmp_path: Path) -> None:
    issuer = Authority(Clock())
    kept = keeper(tmp_path, issuer)
    with pytest.raises(Missing, match="no certificate"):
        await kept.revoke(reason=0)
    await kept.renew()
    await kept.revoke(reason=4)
    assert issuer.revoked == [4]
    with pytest.raises(SettingsError, match="where it was bought"):
        await Keeper(Store(tmp_path), None, Wanted(("a.example",))).revoke(reason=0)
