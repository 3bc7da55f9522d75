"""Where the server is, from the environment as in `../python`. The last version 2 of Langfuse's SDK cannot be installed beside 5."""

import os
import sys
import uuid
from pathlib import Path

import pytest
from langfuse import Langfuse

# For the relay.
sys.path.append(str(Path(__file__).parent.parent / "python"))

PRIVET_URL = os.environ["PRIVET_URL"].rstrip("/")
PRIVET_PUBLIC_KEY = os.environ["PRIVET_PUBLIC_KEY"]
PRIVET_SECRET_KEY = os.environ["PRIVET_SECRET_KEY"]


def made(host=PRIVET_URL, public_key=PRIVET_PUBLIC_KEY, secret_key=PRIVET_SECRET_KEY):
    return Langfuse(host=host, public_key=public_key, secret_key=secret_key)


@pytest.fixture
def langfuse():
    client = made()
    yield client
    client.shutdown()


@pytest.fixture
def name():
    return f"py2-{uuid.uuid4()}"
