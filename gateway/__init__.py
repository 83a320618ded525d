"""Tunegate: the OpenAI-compatible inference gateway for fine-tuned models.

Start reading at `pipeline.py`, the story of one request; `app.py` is where all parts of a data-plane
worker meet. `docs/architecture.md` draws the rooms.
"""

__version__ = "0.1.0"
