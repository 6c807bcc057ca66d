r"""Hand-written pairs in the manner of MATH, GSM8K and their kin: (gold, response, equal)."""

BOXED = r"""
\frac{3}{4} | 0.75 | =
\frac{3}{4} | \frac{6}{8} | =
\frac{3}{4} | \frac34 | =
\frac{3}{4} | 3/5 | !
10 | 10.0 | =
-\frac{1}{2} | \frac{-1}{2} | =
-\frac{1}{2} | -0.5 | =
2\sqrt{13} | \sqrt{52} | =
\frac{\sqrt{3}}{2} | \frac{1}{2}\sqrt{3} | =
\frac{2\sqrt{3}}{3} | \frac{2}{\sqrt{3}} | =
3\sqrt{2}+2\sqrt{3} | 2\sqrt{3}+3\sqrt{2} | =
17 - 12\sqrt{2} | (3-2\sqrt{2})^2 | =
1+\sqrt{19} | 1-\sqrt{19} | !
\left( 3, \frac{\pi}{2} \right) | (3, \frac{\pi}{2}) | =
\left( 3, \frac{\pi}{2} \right) | (3, \pi/2) | =
\left( 3, \frac{\pi}{2} \right) | (3, \frac{\pi}{3}) | !
(-\infty, 2) \cup (3, \infty) | (-\infty,2)\cup(3,\infty) | =
(-\infty, 2) \cup (3, \infty) | (-\infty,2]\cup[3,\infty) | !
[-2,7] | -2 \le x \le 7 | =
[-2,7] | [-2,7) | !
x \in [-2,7] | [-2,7] | =
(0,9) \cup (9,36) | (9,36)\cup(0,9) | =
\text{Evelyn} | Evelyn | =
\text{Evelyn} | Briana | !
\text{(C)} | C | =
\text{(C)} | (C) | =
\text{(C)} | D | !
\text{even} | \text{odd} | !
70 \text{ square inches} | 70 | =
12\text{ cm}^3 | 12 | =
5\text{ m/s} | 5 | =
36^\circ | 36 | =
36^\circ | 36^{\circ} | =
11\sqrt2 | 11\sqrt{2} | =
10\% | 10 | =
33\frac{1}{3} | \frac{100}{3} | =
33\frac{1}{3}\% | \frac{100}{3}\% | =
\$18.90 | 18.90 | =
\$1{,}080 | 1080 | =
864 \mbox{ inches}^2 | 864 | =
6 - 5i | -5i + 6 | =
6 - 5i | 6+5i | !
\frac{1}{5} + \frac{2}{5}i | \frac{1+2i}{5} | =
\begin{pmatrix} -1 \\ 2 \end{pmatrix} | \begin{pmatrix}-1\\2\end{pmatrix} | =
\begin{pmatrix} -1 \\ 2 \end{pmatrix} | \begin{bmatrix}-1\\2\end{bmatrix} | =
\begin{pmatrix} 1/3 \\ 2 \end{pmatrix} | \begin{pmatrix}\frac13\\2\end{pmatrix} | =
\begin{pmatrix} -1 & 0 \\ 0 & 1 \end{pmatrix} | \begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} | !
2516_8 | 2516_8 | =
2516_8 | 2516 | =
x^3+3x-6 | 3x+x^3-6 | =
(x+2)(x+3) | x^2+5x+6 | =
-2x(x-5) | 10x-2x^2 | =
(3x-1)^2 | 9x^2-6x+1 | =
(3x-1)^2 | 9x^2+6x+1 | !
5x^{11} - 9x^9 | -9x^{9}+5x^{11} | =
\frac{x+1}{2} | \frac{1}{2}(x+1) | =
y = -2x + 3 | y=3-2x | =
y = -2x + 3 | 2x+y=3 | =
y = -2x + 3 | y=2x+3 | !
x+2y=4 | 2x+4y=8 | =
f(x) = x^2 | x^2 | =
3, 5, 7 | 7, 5, 3 | =
3, 5, 7 | \{3,5,7\} | =
3, 5, 7 | 3, 5 | !
-3, 3 | \pm 3 | =
1, -2 | x=1 \text{ or } x=-2 | =
-1, \frac{1}{3} | \frac13, -1 | =
(1,2),(3,4) | (3,4),(1,2) | =
(1,2),(3,4) | (1,2),(4,3) | !
\frac{9\pi}{2} | 4.5\pi | =
8\pi | 8\pi \text{ cm}^2 | =
8\pi | 25.13 | !
8\pi | 25.132741 | =
100\pi | 314 | !
2^{2005} | 2\cdot 2^{2004} | =
2^{2005} | 2^{2006} | !
\frac{1}{1024} | 2^{-10} | =
10^6 | 1{,}000{,}000 | =
9! | 362880 | =
\binom{10}{3} | 120 | =
\log_2 3 | \frac{\ln 3}{\ln 2} | =
\ln 2 | \ln 3 | !
e^2 | e^{2} | =
e | 2.718282 | =
\infty | \infty | =
-\infty | \infty | !
\emptyset | \emptyset | =
\frac{n(n+1)}{2} | \frac{n^2+n}{2} | =
a^2b^2 | (ab)^2 | =
\sqrt{x^2+1} | \sqrt{1+x^2} | =
\frac{a}{b+c} | \frac{a}{c+b} | =
\frac{a}{b+c} | \frac{a}{b}+c | !
2k\pi | 2\pi k | =
\frac{\pi}{4}+k\pi | k\pi+\frac{\pi}{4} | =
\cos 2x | 2\cos^2 x-1 | =
\sin 2x | 2\sin x\cos x | =
0.\overline{3} | \frac{1}{3} | =
.36 | 0.36 | =
3.6 | \frac{18}{5} | =
1.5 | 1\frac12 | =
1.5 | 15 | !
7 | 07 | =
50 | fifty | !
2:3 | \frac{2}{3} | =
2:3 | 3:2 | !
12\,345 | 12345 | =
9.5\% | 9.5 | =
5\text{ cm} | 5\text{ m} | !
\{1,2\} | (1,2) | !
(1,2) | \{1,2\} | !
(5,\infty) | x>5 | =
x<1\text{ or }x>2 | (-\infty,1)\cup(2,\infty) | =
\frac{1}{2} | \sin 30^\circ | =
-1 | e^{i\pi} | =
0.00000012 | 0.00000021 | !
3t | 3 | !
"""

RESPONSES = [
    ("72", "Natalia sold 48/2 = 24 clips in May. Altogether 48+24 = 72.\n#### 72", True),
    ("10", "Weng earns 12/60 = $0.2 per minute. For 50 minutes she earned 0.2 x 50 = $10.", True),
    ("18", "She makes 9 * 2 = $18 every day at the farmer's market. The answer is 18.", True),
    ("18", "She makes 9 * 2 = $18 every day. The answer is 19.", False),
    ("1450", "The total is $1,450. The final answer is $1,450$.", True),
    ("\\frac{1}{2}", "We have $x = \\frac{2}{4}$, so the answer is $\\boxed{\\frac{1}{2}}$.", True),
    ("\\frac{1}{2}", "First $\\boxed{\\frac{1}{3}}$ seemed right, but it is wrong. After checking again the whole computation from the start we now see: $\\boxed{\\frac{1}{2}}$", True),
    ("\\frac{1}{2}", "It is not $\\boxed{\\frac{1}{2}}$ at all: on reflection, having gone through every single case by hand, I get $\\boxed{\\frac{1}{3}}$", False),
    ("1,2", "The solutions are $\\boxed{1}$ and $\\boxed{2}$.", True),
    ("1,2", "$x=\\boxed{1}$", False),
    ("x^2+1", "Hence the polynomial is $$\\boxed{x^2+1}.$$", True),
    ("5", "The final answer is $5$. I hope it is correct.", True),
    ("5", "Final Answer: The final answer is $x=5$. I hope it is correct.", True),
    ("5", "Therefore, the answer is $7$.", False),
    ("(1,2)", "So the point is \\[\\boxed{\\left(1,2\\right)}\\]", True),
    ("42", "\\boxed{42}", True),
    ("42", "\\fbox{42}", True),
    ("42", "I do not know.", False),
    ("42", "\\boxed{}", False),
    ("-3", "Thus $x = -3$.", True),
    ("0.5", "the answer is 50%", True),
    ("12", "The answer is **12**.", True),
    ("3", "There are 3 apples", True),
    ("2", "There are 3 apples", False),
    ("\\sqrt{2}", "Answer: $\\sqrt{2}$", True),
    ("\\frac{5}{9}", "<think>maybe 1/9 or 2/9</think> The probability is $\\boxed{\\dfrac{5}{9}}$.", True),
]


def handwritten():
    for line in BOXED.strip().splitlines():
        gold, answer, mark = (part.strip() for part in line.split(" | "))
        yield gold, f"The answer is $\\boxed{{{answer}}}$.", mark == "="
    yield from RESPONSES
