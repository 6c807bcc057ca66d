# Chat templates as transformers renders them. Setup: {"template", "variables"}: the Jinja text and what it may name
# beside the messages. Request: {"messages": [{"role", "content", ...}], "variables": {...}}. Answer: text.
import datetime

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    raise SystemExit(f"chat templates need the package jinja2, which {sys.executable} doesn't have")

template = None
variables = None


class Generation(jinja2.ext.Extension):
    """{% generation %} marks the assistant's tokens for others; here its body is text like any other."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def raise_exception(message):
    raise Refusal(f"the chat template says: {message}")


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(form):
    return datetime.datetime.now().strftime(form)


def setup(request):
    global template, variables
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    try:
        template = environment.from_string(request["template"])
    except jinja2.TemplateSyntaxError as error:
        raise Refusal(f"the chat template's line {error.lineno} is wrong: {error.message}")
    variables = request["variables"]


def answer(request):
    try:
        return template.render(**{
            "tools": None, "documents": None, "add_generation_prompt": True, **variables,
            **request["variables"], "messages": request["messages"]})
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        raise Refusal(f"the chat template failed: {sentence(error)}")
