# A reward function of the user's. Setup: {"file", "function"}. Request: what the function may ask for, by name.
import asyncio
import difflib
import importlib.util
import inspect
import math
import os

GIVEN = ("response", "answer", "prompt", "metadata", "id", "finish")
function = None
wanted = None  # names of its parameters among GIVEN


def load(file):
    try:
        with open(file, "rb") as source:
            code = compile(source.read(), file, "exec")
    except SyntaxError as error:
        raise Refusal(f"{file}:{error.lineno}: {error.msg}: {(error.text or '').strip()}")
    except OSError as error:
        raise Refusal(f"cannot read {file}: {error.strerror}")
    sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
    spec = importlib.util.spec_from_file_location("reward_file", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reward_file"] = module  # dataclasses and pickle look there
    try:
        exec(code, module.__dict__)
    except MemoryError:
        raise
    except BaseException as error:
        raise Refusal(sentence(error, file))
    return module


def find(module, file, name):
    functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    found = getattr(module, name, None)
    if callable(found):
        return found
    near = difflib.get_close_matches(name, functions, 1)
    there = f"; did you mean '{near[0]}'?" if near else f"; it has {', '.join(functions) or 'none'}"
    raise Refusal(f"{file} has no function '{name}'{there}")


def parameters(file, name):
    names = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind == parameter.VAR_KEYWORD:
            return GIVEN
        if parameter.name in GIVEN and parameter.kind != parameter.POSITIONAL_ONLY:
            names.append(parameter.name)
        elif parameter.default is parameter.empty and parameter.kind != parameter.VAR_POSITIONAL:
            raise Refusal(f"{file}: {name}() asks for '{parameter.name}', but is given {', '.join(GIVEN)} by name")
    return names


def setup(request):
    global function, wanted
    file, name = request["file"], request["function"]
    function = find(load(file), file, name)
    wanted = parameters(file, name)
    return file


def answer(request):
    value = function(**{name: request[name] for name in wanted})
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    if value is None or isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise Refusal(f"the function returned {value!r:.80}, but must return a number from 0 to 1")
    reward = float(value)
    if math.isnan(reward) or not 0 <= reward <= 1:
        raise Refusal(f"the function returned {reward}, but must return a number from 0 to 1")
    return reward
