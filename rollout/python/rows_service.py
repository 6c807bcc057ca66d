# The rows of a Parquet file. Setup: {"path"}. Request: {}. Answer: the next rows as a list of objects; [] at the end.
import base64
import datetime
import decimal

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    raise SystemExit(f"Parquet files need the package pyarrow, which {sys.executable} doesn't have")

BATCH = 256
batches = None


def plain(value):
    """The JSON twin of what pyarrow makes of a cell."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and value != value or value in (float("inf"), float("-inf")):
        return None
    return value


def setup(request):
    global batches
    try:
        file = pyarrow.parquet.ParquetFile(request["path"])
    except (pyarrow.ArrowException, OSError) as error:
        raise Refusal(f"{request['path']} is no whole Parquet file: {error}")
    batches = file.iter_batches(batch_size=BATCH)


def answer(request):
    try:
        batch = next(batches, None)
        return [] if batch is None else plain(batch.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise Refusal(f"a row cannot be read: {error}")
