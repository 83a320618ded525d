"""Limits, budgets and credit of keys, from the admin API into the store."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.auth.record import KeyBudget, KeyRecord
from gateway.control import plane
from gateway.limits.values import Bounds
from gateway.store.accounts import AccountStore
from gateway.store.client import Store
from gateway.store.key_repository import KeyRepository
from tests.integration.control.running import RunningControl
from tests.support.valkey import ValkeyServer

NANO = 10**9
DEFAULT = {"rpm": 600, "tpm": 1_000_000, "concurrency": 100}
UNLIMITED = dict.fromkeys(DEFAULT)


async def record_of(store: Store, key: dict[str, Any]) -> KeyRecord:
    stored = await KeyRepository(store).get(key["id"])
    assert stored is not None
    return stored.record


async def make(control: RunningControl, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = await control.call("POST", "/keys", {"name": "x", **fields})
    made.pop("key")
    return made


class TestLimits:
    async def test_absent_is_the_default_null_unlimited_and_zero_refuses(
        self, control: RunningControl
    ) -> None:
        for given, named in (
            ({}, {}),
            ({"rpm": 60}, {"rpm": 60}),
            ({"rpm": None, "tpm": 0}, {"rpm": None, "tpm": 0}),
            ({"rpm": "default"}, {}),
            ({"rpm": 10**9, "tpm": 10**12, "concurrency": 10**30}, UNLIMITED),
            ({"rpm": 10**9 - 1}, {"rpm": 10**9 - 1}),
            (None, UNLIMITED),
        ):
            made = await make(control, limits=given)
            assert (made["limits"], made["effective_limits"]) == (named, {**DEFAULT, **named})
            assert await control.call("GET", f"/keys/{made['id']}") == made

    async def test_a_change_merges_them_one_by_one(self, control: RunningControl, store: Store) -> None:
        made = await make(control, limits={"rpm": 60, "tpm": 5})
        for change, named in (
            ({"concurrency": 2}, {"rpm": 60, "tpm": 5, "concurrency": 2}),
            ({}, {"rpm": 60, "tpm": 5, "concurrency": 2}),
            ({"rpm": None, "tpm": "default"}, {"rpm": None, "concurrency": 2}),
            (None, UNLIMITED),
        ):
            after = await control.call("PATCH", f"/keys/{made['id']}", {"limits": change})
            assert after["limits"] == named
            assert (await record_of(store, made)).limits == named
        assert (await control.call("PATCH", f"/keys/{made['id']}", {}))["limits"] == UNLIMITED

    async def test_the_default_is_that_of_the_configuration_in_force(
        self, start_control: Callable[..., Any]
    ) -> None:
        control = await start_control("limits: {default: {rpm: 7, tpm: null}}")
        made = await make(control, limits={"concurrency": 1})
        assert made["effective_limits"] == {"rpm": 7, "tpm": None, "concurrency": 1}
        control.write("limits: {default: {rpm: 8}}")
        await control.call("POST", "/config/reload")
        shown = await control.call("GET", f"/keys/{made['id']}")
        assert shown["effective_limits"] == {"rpm": 8, "tpm": 1_000_000, "concurrency": 1}


class TestBudget:
    async def test_it_is_kept_to_the_nano_dollar(self, control: RunningControl, store: Store) -> None:
        for usd, nanousd, text in (
            (5, 5 * NANO, "5"),
            ("12.50", 12_500_000_000, "12.5"),
            (0.1, 100_000_000, "0.1"),
            (1e-9, 1, "0.000000001"),
            ("8999999.123456789", 8_999_999_123_456_789, "8999999.123456789"),
            (0, 0, "0"),
            (9_000_000, 9_000_000 * NANO, "9000000"),
        ):
            for period in ("day", "month", "total"):
                made = await make(control, budget={"usd": usd, "period": period})
                assert made["budget"] == {"usd": text, "nanousd": nanousd, "period": period}
                assert (await record_of(store, made)).budget == KeyBudget(nanousd, period)

    async def test_it_is_replaced_whole_or_lifted(self, control: RunningControl, store: Store) -> None:
        made = await make(control, budget={"usd": 5, "period": "day"})
        path = f"/keys/{made['id']}"
        assert (await control.call("PATCH", path, {"name": "y"}))["budget"] == made["budget"]
        after = await control.call("PATCH", path, {"budget": {"usd": "6", "period": "total"}})
        assert after["budget"] == {"usd": "6", "nanousd": 6 * NANO, "period": "total"}
        assert (await record_of(store, made)).revision == 3
        assert (await control.call("PATCH", path, {"budget": None}))["budget"] is None
        error = (await control.call("PATCH", path, {"budget": {"usd": 7}}, expect=400))["error"]
        assert error["param"] == "budget.period"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"limits": {"rpm": -1}}, "limits.rpm", "greater than or equal to 0"),
    ({"limits": {"rpm": 1.5}}, "limits.rpm", "valid integer"),
    ({"limits": {"rpm": 60.0}}, "limits.rpm", "valid integer"),
    ({"limits": {"tpm": "60"}}, "limits.tpm", "valid integer"),
    ({"limits": {"tpm": True}}, "limits.tpm", "valid integer"),
    ({"limits": {"concurrency": [1]}}, "limits.concurrency", "valid integer"),
    ({"limits": 5}, "limits", ""),
    ({"budget": 5}, "budget", ""),
    ({"budget": {}}, "budget.usd", "required"),
    ({"budget": {"usd": 5}}, "budget.period", "required"),
    ({"budget": {"usd": 5, "period": "week"}}, "budget.period", "'day', 'month' or 'total'"),
    ({"budget": {"usd": 5, "period": "day", "x": 1}}, "budget.x", "Unknown field"),
    ({"budget": {"usd": None, "period": "day"}}, "budget.usd", "number of US dollars"),
    ({"budget": {"usd": -1, "period": "day"}}, "budget.usd", "greater than or equal to 0"),
    ({"budget": {"usd": "-0.1", "period": "day"}}, "budget.usd", "greater than or equal to 0"),
    ({"budget": {"usd": 9_000_000.01, "period": "day"}}, "budget.usd", "at most 9000000"),
    ({"budget": {"usd": 1e300, "period": "day"}}, "budget.usd", "at most 9000000"),
    ({"budget": {"usd": "0.0000000001", "period": "day"}}, "budget.usd", "nine decimals"),
    ({"budget": {"usd": 1e-10, "period": "day"}}, "budget.usd", "nine decimals"),
    ({"budget": {"usd": "1e3", "period": "day"}}, "budget.usd", "number of US dollars"),
    ({"budget": {"usd": True, "period": "day"}}, "budget.usd", "number of US dollars"),
    ({"credit_usd": -1}, "credit_usd", "greater than or equal to 0"),
    ({"credit_usd": "five"}, "credit_usd", "number of US dollars"),
    ({"credit_usd": 9_000_001}, "credit_usd", "at most 9000000"),
    ({"max_output_tokens": 0}, "max_output_tokens", "greater than or equal to 1"),
    ({"max_output_tokens": 1.0}, "max_output_tokens", "valid integer"),
    ({"max_output_tokens": 10**30}, "max_output_tokens", "less than or equal to"),
]


async def test_what_cannot_be_is_refused_by_name(control: RunningControl) -> None:
    made = await make(control)
    for fields, param, words in REFUSED:
        for method, path, body in (
            ("POST", "", {"name": "x", **fields}),
            ("PATCH", f"/{made['id']}", fields),
        ):
            error = (await control.call(method, f"/keys{path}", body, expect=400))["error"]
            assert (error["param"], error["code"]) == (param, None), error
            assert words in error["message"], error
    for nan in ("NaN", "Infinity", "-Infinity"):
        response = await control.http.post(
            "/admin/v1/keys",
            content=f'{{"name": "x", "credit_usd": {nan}}}',
            headers={"content-type": "application/json"},
        )
        assert response.json()["error"]["param"] == "credit_usd"
    assert await control.call("GET", f"/keys/{made['id']}") == made
    assert len((await control.call("GET", "/keys"))["data"]) == 1


class TestCredit:
    async def test_it_is_granted_at_creation(self, control: RunningControl, store: Store) -> None:
        for usd, nanousd, text in (
            ("5.5", 5_500_000_000, "5.5"),
            (0, 0, "0"),
            (9_000_000, 9 * 10**15, "9000000"),
        ):
            made = await make(control, credit_usd=usd)
            assert (made["credit_usd"], made["credit_nanousd"]) == (text, nanousd)
            assert (await record_of(store, made)).has_credit
            assert await control.call("GET", f"/keys/{made['id']}") == made
        none = await make(control, credit_usd=None)
        assert (none["credit_usd"], none["credit_nanousd"]) == (None, None)
        listed = (await control.call("GET", "/keys"))["data"]
        assert [key["credit_usd"] for key in listed] == [None, "9000000", "0", "5.5"]

    async def test_more_is_granted_and_taken_back(self, control: RunningControl, store: Store) -> None:
        made = await make(control, credit_usd=5)
        path = f"/keys/{made['id']}/credit"
        for body, left in (
            ({"usd": "0.000000001", "note": "the first bill"}, 5 * NANO + 1),
            ({"usd": -2.5, "note": None}, 2_500_000_001),
            ({"usd": "-3"}, -499_999_999),
            ({"usd": 0}, -499_999_999),
        ):
            with capture_logs() as log:
                answer = await control.call("POST", path, body)
            granted = answer.pop("granted_nanousd")
            assert float(answer.pop("granted_usd")) == float(body["usd"]) == granted / NANO  # type: ignore[arg-type]  # a number or text
            assert float(answer.pop("remaining_usd")) == left / NANO
            note = body.get("note")
            assert answer == {
                "object": "key.credit",
                "id": made["id"],
                "remaining_nanousd": left,
                "note": note,
            }
            assert [(line["event"], line["key"], line["note"]) for line in log] == [
                ("credit granted", made["id"], note)
            ]
            assert (await control.call("GET", f"/keys/{made['id']}"))["credit_nanousd"] == left
        assert (await record_of(store, made)).revision == 1  # so no worker has to read it again

    async def test_a_key_without_credit_pays_from_it_from_then_on(
        self, control: RunningControl, store: Store
    ) -> None:
        made = await make(control)
        error = (await control.call("POST", f"/keys/{made['id']}/credit", {"usd": -1}, expect=400))["error"]
        assert error["param"] == "usd"
        assert (await record_of(store, made)).has_credit is False
        answer = await control.call("POST", f"/keys/{made['id']}/credit", {"usd": 3})
        assert answer["remaining_usd"] == "3"
        record = await record_of(store, made)
        assert (record.has_credit, record.revision) == (True, 2)
        assert (await control.call("GET", f"/keys/{made['id']}"))["credit_usd"] == "3"

    async def test_a_change_starts_it_or_ends_it(self, control: RunningControl, store: Store) -> None:
        made = await make(control)
        path = f"/keys/{made['id']}"
        assert (await control.call("PATCH", path, {"credit_usd": "2"}))["credit_usd"] == "2"
        error = (await control.call("PATCH", path, {"credit_usd": 2}, expect=400))["error"]
        assert error["param"] == "credit_usd"
        assert f"POST /admin/v1{path}/credit" in error["message"]
        assert (await control.call("GET", path))["credit_usd"] == "2"
        assert (await control.call("PATCH", path, {"credit_usd": None}))["credit_usd"] is None
        assert (await record_of(store, made)).has_credit is False
        assert (await control.call("POST", f"{path}/credit", {"usd": 1}))["remaining_usd"] == "3"

    async def test_two_changes_at_once_start_it_once(self, control: RunningControl) -> None:
        made = await make(control)
        answers = await asyncio.gather(
            *(
                control.http.patch(f"/admin/v1/keys/{made['id']}", json={"credit_usd": 2, "name": f"n{n}"})
                for n in range(5)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
        assert (await control.call("GET", f"/keys/{made['id']}"))["credit_usd"] == "2"

    async def test_an_idempotency_key_grants_once_for_each_key(self, control: RunningControl) -> None:
        first, second = [await make(control, team="acme") for _ in range(2)]
        assert first["id"][:2] == second["id"][:2]  # so they share a slot
        for made in (first, second):
            path = f"/keys/{made['id']}/credit"
            answers = await asyncio.gather(
                *(control.call("POST", path, {"usd": 5}, Idempotency_Key="bill 7") for _ in range(5))
            )
            assert {answer["remaining_usd"] for answer in answers} == {"5"}
            assert (await control.call("POST", path, {"usd": 5}, Idempotency_Key="bill 8"))[
                "remaining_usd"
            ] == "10"
            for left in ("15", "20"):
                assert (await control.call("POST", path, {"usd": 5}))["remaining_usd"] == left
        for bad in ("", "x" * 256):
            error = await control.call(
                "POST", f"/keys/{first['id']}/credit", {"usd": 1}, Idempotency_Key=bad, expect=400
            )
            assert error["error"]["param"] == "idempotency-key"

    async def test_what_cannot_be_granted(self, control: RunningControl, store: Store) -> None:
        made = await make(control, credit_usd=9_000_000)
        revoked = await make(control, credit_usd=1)
        await control.call("DELETE", f"/keys/{revoked['id']}")
        for key_id, body, status, param in (
            (made["id"], {}, 400, "usd"),
            (made["id"], {"usd": None}, 400, "usd"),
            (made["id"], {"usd": 9_000_001}, 400, "usd"),
            (made["id"], {"usd": "0.000000001"}, 400, "usd"),  # over what is counted exactly
            (made["id"], {"usd": 1, "notes": "x"}, 400, "notes"),
            (made["id"], {"usd": 1, "note": "x" * 1001}, 400, "note"),
            (revoked["id"], {"usd": 1}, 400, "id"),
            ("00aaaaaaaaaa", {"usd": 1}, 404, "id"),
            ("nobody", {"usd": 1}, 404, "id"),
        ):
            answer = await control.call("POST", f"/keys/{key_id}/credit", body, expect=status)
            assert answer["error"]["param"] == param, answer
        view = await AccountStore(store).account(revoked["id"], Bounds())
        assert view.credit_nanousd == NANO
        assert (await control.call("GET", f"/keys/{made['id']}"))["credit_usd"] == "9000000"
        await control.call("PATCH", f"/keys/{made['id']}", {"credit_usd": None})
        error = (await control.call("PATCH", f"/keys/{made['id']}", {"credit_usd": 1}, expect=400))["error"]
        assert error["param"] == "credit_usd"

    async def test_no_key_is_changed_where_its_money_cannot_be(
        self, start_control: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plane, "STORE_TIMEOUT_S", 0.3)
        with ValkeyServer() as own:
            control = await start_control(f'store: {{url: "{own.url}"}}', bare=True)
            made = await make(control)
            own.kill()
            for method, path, body in (
                ("POST", "/keys", {"name": "x", "credit_usd": 1}),
                ("PATCH", f"/keys/{made['id']}", {"credit_usd": 1}),
                ("POST", f"/keys/{made['id']}/credit", {"usd": 1}),
            ):
                answer = await control.call(method, path, body, expect=503)
                assert answer["error"]["code"] == "store_unavailable"
