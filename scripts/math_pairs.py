"""Pairs of a gold answer and an answer for scripts/check_math_verify.py: (form, gold, answer, equal).

Each form draws values from a seeded generator and writes them in the notations of benchmarks and of models. An
unequal pair differs in value and may differ in notation too. `equal` is what a reader of mathematics would say;
docs/rewards.md has the rules.
"""
import random
from fractions import Fraction

RANDOM = random.Random(20250314)
pick = RANDOM.choice
between = RANDOM.randint


def grouped(n, comma):
    return f"{n:,}".replace(",", comma)


def whole(n):
    """Notations of an integer."""
    forms = [str(n), str(n), f"{n}.0", f"\\text{{{n}}}", f" {n} "]
    if abs(n) >= 1000:
        forms += [grouped(n, ","), grouped(n, ","), grouped(n, "{,}"), grouped(n, ",\\!")]
    return pick(forms)


def fraction(f):
    a, b = f.numerator, f.denominator
    sign, a = ("-", -a) if a < 0 else ("", a)
    if b == 1:
        return sign + str(a)
    k = between(2, 4)
    forms = [f"\\frac{{{a}}}{{{b}}}", f"\\dfrac{{{a}}}{{{b}}}", f"\\tfrac{{{a}}}{{{b}}}", f"{a}/{b}",
             f"\\frac{{{k * a}}}{{{k * b}}}"]
    if a > b:
        forms.append(f"{a // b}\\frac{{{a % b}}}{{{b}}}")
    return sign + pick(forms)


def decimal(f):
    """Of a fraction whose denominator divides 1000."""
    text = f"{float(f):.3f}".rstrip("0").rstrip(".")
    forms = [text, text, text + ("0" if "." in text else ".0")]
    if text.startswith("0.") and len(text) > 2:
        forms.append(text[1:])
    return pick(forms)


def integers():
    n = between(-20, 10) * between(1, 40) if RANDOM.random() < 0.5 else between(1000, 9999999)
    yield whole(n), whole(n), True
    yield whole(n), whole(n + pick([-1, 1, 10, 100])), False


def fractions():
    f = Fraction(between(-30, 30) or 1, between(2, 15))
    yield fraction(f), fraction(f), True
    yield fraction(f), fraction(f + Fraction(1, between(2, 9))), False


def decimals():
    f = Fraction(between(-4000, 4000), pick([4, 5, 8, 10, 20, 100, 1000]))
    yield pick([decimal, fraction])(f), decimal(f), True
    yield pick([decimal, fraction])(f), decimal(f + Fraction(between(1, 50), 1000)), False


def rounded():
    f = between(1, 6) + Fraction(1, pick([3, 6, 7, 9, 11]))
    yield fraction(f), f"{float(f):.{between(7, 9)}f}", True
    yield fraction(f), f"{float(f):.{between(1, 3)}f}", False


def percents():
    p = between(1, 150)
    mark = pick(["\\%", "%", "\\text{ percent}"])
    yield pick([f"{p}\\%", f"{p}"]), f"{p}{mark}", True
    yield f"{p}\\%", pick([f"{p}", f"{p / 100:g}", f"\\frac{{{p}}}{{100}}"]), True
    yield f"{p}\\%", pick([f"{p + 1}\\%", f"{p + 1}", f"{p * 10}\\%", f"{(p + 5) / 100:g}"]), False


def scientific():
    a, n = between(11, 99), between(2, 9)
    power = pick([f"10^{{{n}}}", f"10^{n}", f"10^{{{n}}}"])
    form = f"{a / 10:g}{pick([chr(92) + 'times ', chr(92) + 'cdot ', chr(92) + 'times'])}{power}"
    yield form, pick([str(a * 10 ** (n - 1)), grouped(a * 10 ** (n - 1), ","), form]), True
    yield form, f"{a / 10:g}\\times 10^{{{n + 1}}}", False
    small = f"{a / 10:g}\\times 10^{{-{min(n, 4)}}}"
    yield small, f"{a / 10 * 10 ** -min(n, 4):.7f}".rstrip("0"), True


def root(a, b):
    """a * sqrt(b)"""
    forms = [f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}", f"{a}\\cdot\\sqrt{{{b}}}", f"\\frac{{{a * b}}}{{\\sqrt{{{b}}}}}",
             f"{a}\\, \\sqrt{{{b}}}", f"\\sqrt{{{b}}}\\cdot {a}"]
    return pick(forms)


def roots():
    a, b, c = between(2, 9), pick([2, 3, 5, 6, 7, 10]), between(1, 9)
    yield root(a, b), root(a, b), True
    yield root(a, b), pick([root(a + 1, b), root(a, b + 1), str(a * b)]), False
    yield f"{c}+{root(a, b)}", f"{root(a, b)}+{c}", True
    yield f"\\frac{{{c}+\\sqrt{{{b}}}}}{{{a}}}", f"\\frac{{{c}}}{{{a}}}+\\frac{{\\sqrt{{{b}}}}}{{{a}}}", True
    yield f"\\frac{{{c}+\\sqrt{{{b}}}}}{{{a}}}", f"\\frac{{{c}-\\sqrt{{{b}}}}}{{{a}}}", False
    yield f"\\sqrt[3]{{{a ** 3}}}", str(a), True


def powers():
    a, n = between(2, 9), between(2, 8)
    yield f"{a}^{{{n}}}", pick([str(a ** n), f"{a}^{n}", f"{a}^{{{n - 1}}}\\cdot {a}", grouped(a ** n, ",")]), True
    yield f"{a}^{{{n}}}", pick([str(a ** n + 1), f"{a + 1}^{{{n}}}", f"{a}^{{{n + 1}}}"]), False
    yield f"{a}^{{-{n}}}", f"\\frac{{1}}{{{a ** n}}}", True


def pis():
    f = Fraction(between(1, 30), between(1, 12))
    a, b = f.numerator, f.denominator
    forms = [f"{a}\\pi" if b == 1 else f"\\frac{{{a}\\pi}}{{{b}}}", f"\\frac{{{a}}}{{{b}}}\\pi",
             f"\\pi\\cdot\\frac{{{a}}}{{{b}}}", f"\\dfrac{{{a}}}{{{b}}} \\pi", f"{a}\\pi/{b}"]
    yield pick(forms), pick(forms), True
    yield pick(forms), pick([f"\\frac{{{a + 1}\\pi}}{{{b}}}", f"\\frac{{{a}}}{{{b}}}", f"\\frac{{{a}\\pi^2}}{{{b}}}"]), False


def linear(a, x, first=False):
    if a == 0:
        return ""
    sign = "-" if a < 0 else "" if first else "+"
    return f"{sign}{'' if abs(a) == 1 and x else abs(a)}{x}"


def polynomials():
    r, s, x = between(-9, 9), between(-9, 9), pick("xyzn")
    factors = f"({x}{-r:+d})({x}{-s:+d})" if r and s else f"{x}({x}{-(r + s):+d})" if r + s else f"{x}^2"
    expanded = f"{x}^2{linear(-(r + s), x)}{linear(r * s, '')}"
    turned = f"{linear(r * s, '', True)}{linear(-(r + s), x)}+{x}^2".lstrip("+")
    yield expanded, pick([factors, turned, expanded.replace("^2", "^{2}")]), True
    yield expanded, pick([f"{expanded}+1", f"{x}^2{linear(r + s + 1, x)}{linear(r * s, '')}"]), False
    a, b = between(2, 9), between(1, 9)
    yield f"{a}{x}+{b}", pick([f"{b}+{a}{x}", f"{a}\\cdot {x}+{b}", f"{a} {x} + {b}"]), True
    yield f"{a}{x}+{b}", f"{a}{x}-{b}", False
    yield f"\\frac{{{x}+{b}}}{{{a}}}", f"\\frac{{{x}}}{{{a}}}+\\frac{{{b}}}{{{a}}}", True


def units():
    n = between(1, 400)
    unit = pick(["cm", "m", "km", "kg", "cm^2", "m^3", "square units", "hours", "minutes", "inches", "feet", "mph",
                 "apples", "students", "miles per hour", "dollars", "degrees", "sq. units"])
    word, power = (unit.split("^") + [""])[:2]
    written = pick([f"{n}\\text{{ {word}}}", f"{n}\\,\\text{{{word}}}", f"{n}\\mathrm{{~{word}}}", f"{n}\\text{{ {word}}}"])
    if power:
        written += f"^{power}"
    yield str(n), written, True
    yield written, pick([str(n), f"{n}.0"]), True
    yield str(n), written.replace(str(n), str(n + 1), 1), False


def angles():
    n = between(1, 360)
    written = pick([f"{n}^\\circ", f"{n}^{{\\circ}}", f"{n}\\text{{ degrees}}", f"{n}^\\circ"])
    yield pick([str(n), f"{n}^\\circ"]), written, True
    yield f"{n}^\\circ", f"{n + between(1, 90)}^{{\\circ}}", False


def money():
    n, c = between(1, 20000), between(1, 99)
    yield pick([f"\\${n}", str(n)]), pick([f"\\${n:,}", f"\\${n}", f"{n}\\text{{ dollars}}", f"\\${n}.00"]), True
    yield f"\\${n}.{c:02d}", pick([f"{n}.{c:02d}", f"\\${n:,}.{c:02d}"]), True
    yield f"\\${n}", f"\\${n + 5}", False


def some(count):
    return RANDOM.sample(range(-20, 30), count)


def listed(items, order=True):
    items = list(items)
    if not order:
        RANDOM.shuffle(items)
    return pick([",", ", "]).join(map(str, items))


def sets():
    items = some(between(2, 4))
    braces = pick([("\\{", "\\}"), ("\\left\\{", "\\right\\}"), ("\\{ ", " \\}")])
    gold = f"\\{{{listed(items)}\\}}"
    yield gold, braces[0] + listed(items, False) + braces[1], True
    yield gold, pick([f"\\{{{listed(items[:-1])}\\}}", f"\\{{{listed(items[:-1] + [99])}\\}}", f"\\{{{listed(items + [77])}\\}}"]), False


def lists():
    items = some(between(2, 4))
    if RANDOM.random() < 0.3:
        items = [fraction(Fraction(i or 1, 7)) for i in items]
    yield listed(items), listed(items, False), True
    yield listed(items), listed(items[:-1]) + "\\text{ and }" + str(items[-1]), True
    yield listed(items), listed(items[1:]), False
    yield listed(items), listed(items[1:] + [99]), False


def tuples():
    items = some(between(2, 4))
    gold = f"({listed(items)})"
    yield gold, pick([f"\\left({listed(items)}\\right)", f"( {listed(items)} )", f"({listed(items)})"]), True
    yield gold, f"({listed(items[::-1])})", items == items[::-1]
    yield gold, f"({listed(items[:-1] + [items[-1] + 1])})", False
    a, b = Fraction(between(1, 9), 2), Fraction(between(1, 9), 4)
    yield f"({fraction(a)},{fraction(b)})", f"({decimal(a)}, {decimal(b)})", True


def intervals():
    a = between(-20, 20)
    b = a + between(1, 20)
    left, right = pick("(["), pick(")]")
    yield f"{left}{a},{b}{right}", pick([f"\\left{left}{a}, {b}\\right{right}", f"{left}{a}.0, {b}{right}"]), True
    yield f"{left}{a},{b}{right}", f"{'[' if left == '(' else '('}{a},{b}{right}", False
    yield f"{left}{a},\\infty)", pick([f"{left}{a}, +\\infty)", f"\\left{left}{a},\\infty\\right)"]), True
    yield f"(-\\infty,{a}{right}", f"(-\\infty,{a + 1}{right}", False


def unions():
    a = between(-20, 20)
    b = a + between(1, 20)
    left, right = f"(-\\infty,{a}{pick(')]')}", f"{pick('([')}{b},\\infty)"
    yield f"{left}\\cup {right}", pick([f"{right} \\cup {left}", f"{left} \\cup {right}"]), True
    yield f"{left}\\cup {right}", pick([left, f"(-\\infty,{a - 1})\\cup {right}"]), False


def equations():
    x, n = pick("xyzabn"), between(-30, 30)
    yield f"{x}={n}", pick([str(n), f"{x} = {n}", f"{x}={n}.0"]), True
    yield str(n), f"{x}={n}", True
    yield f"{x}={n}", pick([str(n + 1), f"{x}={n + 1}"]), False
    m, c = between(2, 9), between(1, 9)
    line = f"y={m}x+{c}"
    yield line, pick([f"y = {c} + {m}x", f"{m}x-y+{c}=0", f"{m}x + {c}", f"y-{c}={m}x"]), True
    yield line, pick([f"y={m}x-{c}", f"y={m + 1}x+{c}"]), False


def plus_minus():
    a, b = between(1, 9), pick([2, 3, 5, 7])
    yield f"\\pm {a}", pick([f"{a},-{a}", f"-{a}, {a}", f"\\pm{a}"]), True
    yield f"{a}\\pm\\sqrt{{{b}}}", pick([f"{a}+\\sqrt{{{b}}},{a}-\\sqrt{{{b}}}", f"{a}\\pm \\sqrt{b}"]), True
    yield f"{a}\\pm\\sqrt{{{b}}}", pick([f"{a}+\\sqrt{{{b}}}", f"{a + 1}\\pm\\sqrt{{{b}}}"]), False


def matrices():
    rows = [some(2), some(2)]
    if RANDOM.random() < 0.3:
        rows = [[i] for i in some(3)]

    def written(kind, cells, fix=str):
        return f"\\begin{{{kind}}} " + " \\\\ ".join(" & ".join(map(fix, r)) for r in cells) + f" \\end{{{kind}}}"
    yield written("pmatrix", rows), written(pick(["pmatrix", "bmatrix"]), rows, pick([str, lambda i: f"{i}.0"])), True
    other = [list(r) for r in rows]
    other[0][0] += 1
    yield written("pmatrix", rows), written("pmatrix", other), False


def words():
    some_words = ["Monday", "even", "odd", "increasing", "Yes", "No", "neither", "ellipse", "parabola", "hyperbola", "Evelyn"]
    a, b = RANDOM.sample(some_words, 2)
    yield f"\\text{{{a}}}", pick([f"\\text{{{a}}}", f"\\text{{{a.lower()}}}", f"\\textbf{{{a}}}", f"\\mathrm{{{a}}}"]), True
    yield f"\\text{{{a}}}", f"\\text{{{b}}}", False


def letters():
    a, b = RANDOM.sample("ABCDE", 2)
    yield f"\\text{{({a})}}", pick([f"\\text{{({a})}}", a, f"\\text{{{a}}}", f"({a})"]), True
    yield a, pick([b, f"\\text{{{b}}}"]), False


def inequalities():
    x, n = pick("xyz"), between(-20, 20)
    op, back, bracket = pick([(">", "<", "("), ("\\ge", "\\le", "["), ("\\geq", "\\leq", "[")])
    yield f"{x} {op} {n}", pick([f"{n} {back} {x}", f"{x} {op} {n}.0", f"{bracket}{n},\\infty)"]), True
    yield f"{x} {op} {n}", pick([f"{x} {back} {n}", f"{x} {op} {n + 1}"]), False
    m = n + between(1, 9)
    yield f"{n} < {x} < {m}", pick([f"{n}<{x}<{m}", f"({n},{m})"]), True


def functions():
    values = [("\\sin\\frac{\\pi}{6}", "\\frac{1}{2}"), ("\\cos\\frac{\\pi}{4}", "\\frac{\\sqrt{2}}{2}"),
              ("\\tan\\frac{\\pi}{3}", "\\sqrt{3}"), ("\\ln e^3", "3"), ("\\log_2 32", "5"), ("\\log_{3} 81", "4"),
              ("\\arctan 1", "\\frac{\\pi}{4}"), ("5!", "120"), ("\\binom{6}{2}", "15"), ("\\left|-7\\right|", "7"),
              ("e^{\\ln 4}", "4"), ("\\sin\\left(\\frac{\\pi}{2}\\right)", "1")]
    (a, value), (_, other) = RANDOM.sample(values, 2)
    yield value, a, True
    yield other, a, False
    n = between(2, 9)
    yield f"\\ln {n ** 2}", f"2\\ln {n}", True
    yield f"\\ln {n}", f"\\ln {n + 1}", False


def complexes():
    a, b = between(1, 9), between(2, 9)
    yield f"{a}+{b}i", pick([f"{b}i+{a}", f"{a} + {b}i", f"{a} + {b} i"]), True
    yield f"{a}+{b}i", pick([f"{a}-{b}i", f"{b}+{a + 1}i"]), False


FORMS = [(integers, 80), (fractions, 90), (decimals, 80), (rounded, 30), (percents, 40), (scientific, 30), (roots, 25),
         (powers, 40), (pis, 50), (polynomials, 35), (units, 60), (angles, 30), (money, 40), (sets, 50), (lists, 35),
         (tuples, 40), (intervals, 40), (unions, 30), (equations, 40), (plus_minus, 25), (matrices, 35), (words, 25),
         (letters, 25), (inequalities, 30), (functions, 30), (complexes, 25)]


def generated():
    for form, times in FORMS:
        for _ in range(times):
            for gold, answer, equal in form():
                yield form.__name__, gold, answer, equal
