"""Asks a Python reader for a domain's policy, over the system's DNS and HTTPS on port 443, and
prints what it understood as JSON.

    read_policy.py postfix-mta-sts-resolver|checkdmarc DOMAIN

Any complaint of the reader, a mere warning too, ends it with status 1.
"""

import asyncio
import json
import sys


def postfix_mta_sts_resolver(domain):
    from postfix_mta_sts_resolver.resolver import STSFetchResult, STSResolver

    async def resolve():
        resolver = STSResolver(loop=asyncio.get_running_loop(), timeout=20)
        return await resolver.resolve(domain)

    result, policy = asyncio.run(resolve())
    if result is not STSFetchResult.VALID:
        sys.exit(f"postfix-mta-sts-resolver: {result}")
    return policy


def checkdmarc(domain):
    from checkdmarc.mta_sts import check_mta_sts

    result = check_mta_sts(domain)
    if not result["valid"] or result["warnings"]:
        sys.exit(f"checkdmarc: {result}")
    return result["id"], result["policy"]


READERS = {"postfix-mta-sts-resolver": postfix_mta_sts_resolver, "checkdmarc": checkdmarc}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in READERS:
        sys.exit(__doc__)
    policy_id, policy = READERS[sys.argv[1]](sys.argv[2])
    policy = {key: policy[key] for key in ("mode", "max_age", "mx")}
    print(json.dumps({"id": policy_id, **policy}))


if __name__ == "__main__":
    main()
