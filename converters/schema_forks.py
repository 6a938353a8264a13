"""The schema of Caffe's forks: fields that they added to shared messages, their own messages, their layer types."""

from __future__ import annotations

FIELDS: dict[str, str] = {}

ENUMS: dict[str, str] = {}
