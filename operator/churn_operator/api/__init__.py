"""The three kinds, and the tasks and results that Jobs exchange, as frozen pydantic models; and lines of logs."""
