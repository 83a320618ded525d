"""LiteLLM's answer to who calls, as `custom_auth`: one key that is known, with limits that no call meets.

LiteLLM imports it by its path from beside the configuration; it is no module of ours.
"""

import hmac
import os

from fastapi import Request
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


async def user_api_key_auth(_: Request, api_key: str) -> UserAPIKeyAuth:
    key = os.environ["BENCH_KEY"]
    if not hmac.compare_digest(api_key.removeprefix("Bearer "), key):
        raise ProxyException("no such key", type="auth_error", param=None, code=401)
    limits = {"rpm_limit": int(os.environ["BENCH_RPM"]), "tpm_limit": int(os.environ["BENCH_TPM"])}
    return UserAPIKeyAuth(api_key=key, **limits)
