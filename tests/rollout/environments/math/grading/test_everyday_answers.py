"""Answers as people write them: sentences, currencies, units, digit groups, Markdown, matrices; and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.environments.math.grading.verify import AnswerChecker

RIGHT = r"""
5 := €5 ;; £5 ;; ¥5 ;; ₹5 ;; USD 5 ;; $5 ;; \$5 ;; 5 USD ;; EUR 5 ;; 5 € ;; 5€ ;; US$5 ;; A$5 ;; Rs. 5 ;; Rs 5
5 := 5 dollars ;; $5.00 ;; 5 bucks ;; $5$ ;; **5** ;; 5. ;; `5` ;; The answer is 5. ;; The answer is: 5 ;; Answer: 5
5 := **Answer:** 5 ;; **Answer**: 5 ;; #### 5 ;; The final answer is $\boxed{5}$. I hope it is correct. ;; x = 5
5 := $x = 5$ ;; 5 apples ;; She has 5 apples. ;; It takes 5 hours. ;; There are 5 apples left.
5 := The total cost is $5. ;; The total is 5 ;; Total: 5 ;; Total = 5 ;; so the answer is 5
5 := Therefore, the answer is \(5\). ;; \[5\] ;; $$5$$ ;; 5.0 ;; +5 ;; 10/2 ;; \frac{10}{2} ;; \boxed{5}
5 := \boxed{5} apples ;; \fbox{5} ;; \text{5} ;; \mathbf{5} ;; 2+3 = 5 ;; 2 + 3 = 5 km/h ;; 5 km/h ;; 5m ;; 5 m ;; 5kg
5 := 5\text{ cm} ;; 5\,\text{cm} ;; 5~\mathrm{kg} ;; 5 square feet ;; 5 ft^2 ;; 5\text{ cm}^2 ;; <answer>5</answer>
5 := 5 is the answer ;; My final answer is 5 ;; the answer is **5** ;; = 5 ;; "5" ;; 5 % ;; 5% ;; 5 percent ;; 5°
5 := 5^\circ ;; 5^{\circ} ;; 5 degrees ;; 5e0 ;; 05 ;; \displaystyle 5 ;; 4.9999999999999 ;; 5.000000000000001
5 := USD 5.00 ;; CHF 5 ;; {5} ;; 5 people. ;; 5\text{ dollars} ;; \text{USD }5 ;; 5 hours per day ;; $5 per hour
5 := $5/hour ;; ₹ 5 ;; 5 ;; Final answer: 5 ;; The result is 5. ;; Result: 5 ;; \sqrt{25}
5 := 3+4=7, and 7-2=5, so the answer is 5. ;; The number of apples she has is 5. ;; 5/hour ;; 5 / hour ;; kr 5
5 := AED 5 ;; CAD 5 ;; 5 rupees ;; 5 pounds ;; $ 5 ;; \text{€}5 ;; 5\,€ ;; We get 5 ;; I think the answer is 5 ;; ≈5
5 := 5 cm³ ;; The area is 5 square meters. ;; So we need 5 tiles ;; 5\%
59,616 := 59615.99999999999
59616 := 59615.99999999999
0.3 := 0.30000000000000004
72 := 72 clips
\frac{1}{2} := $\frac{1}{2}$ cup ;; ½ ;; $\frac12$
2.5 := 2½ ;; 2 ½
1.5 := 1\frac12 ;; 1 \dfrac{1}{2} ;; 1 \frac{1}{2} cups
10080 := 10,\!080 ;; 10\,080 ;; 10 080 ;; 10{,}080 ;; 10'080 ;; 10_080
10,\!080 := 10080 ;; 10,080
1234.5 := 1,234.50 ;; USD 1,234.50 ;; $1,234.50 ;; 1.234,50 ;; €1.234,50
1234567 := 1.234.567 ;; 1 234 567
123456 := ₹1,23,456
x \leqslant 3 := x \le 3 ;; x \leq 3 ;; x ≤ 3
x \geqslant 3 := 3 \le x
\begin{pmatrix} 5 \\ 6 \end{pmatrix} := \begin{pmatrix}5\\6\end{pmatrix}
\begin{pmatrix} -5 \\ 6 \end{pmatrix} := \begin{bmatrix}-5\\6\end{bmatrix}
\begin{pmatrix} 1/2 & 3 \\ 4 & 5 \end{pmatrix} := \begin{pmatrix}\frac12&3\\4&5\end{pmatrix}
(A) := A
A := (A). ;; The answer is (A). ;; Option A
B := \textbf{(B)} ;; B)
Evelyn := \text{Evelyn}
\text{Evelyn} := Evelyn. ;; The answer is Evelyn. ;; evelyn ;; The winner is Evelyn
1.5e3 := 1500
1500 := 1.5\times10^3 ;; 1.5×10³
0.0015 := 1.5 \times 10^{-3} ;; 1.5e-3 ;; 1.5×10⁻³
\frac{\sqrt{3}}{2}\text{ cm} := \frac{\sqrt{3}}{2}
\frac{\sqrt{3}}{2} := \sqrt{3}/2 cm ;; √3/2
2\sqrt{3} := √12
2\pi := 2pi ;; 2*pi ;; 2π
\frac{\pi}{4} := pi/4
8 := 2^3 ;; 2**3
x^2 := x**2 ;; The answer is $x^2$.
36 km/h := 10 m/s
60 mph := 60 miles per hour
20 °C := 20
20 := 20 °C ;; 20^\circ\text{C}
0.\overline{3} := 1/3
1/3 := 0.\overline{3}
\{1,2\} := {1, 2}
1,2 := 2 and 1 ;; The solutions are 1 and 2. ;; x = 1 or x = 2 ;; 1; 2 ;; \boxed{1}, \boxed{2}
[1,\infty) := [1, ∞)
(-\infty, 2) \cup (3, \infty) := (-∞,2) ∪ (3,∞)
1,000, 2,000 := 1000, 2000
1000, 2000 := 1,000 and 2,000
(3,4) := $(3, 4)$ ;; \left(3,\,4\right)
\$18 := 18
$18 := 18 dollars
24 := 2 dozen
1500000 := $1.5M
5000 := 5 thousand
-5 := -$5 ;; $-5 ;; −5 ;; - 5
3:4 := 3 : 4
11/2 := 5 1/2
12 := \boxed{12}. ;; 12\ \text{km}/\text{h} ;; 12 m/s^2 ;; It is 12. ;; Thus, the train travels 12 km/h.
2 := first \boxed{1} was my guess, but \boxed{2}
\infty := infinity ;; ∞
\emptyset := \varnothing
6 \text{ inches}^2 := 6 square inches
y=2x+3 := 2x+3
y = 2x+3 := y-2x = 3
3+4i := 4i+3
Yes := yes.
even := \text{even} ;; The number is even
33\frac{1}{3}\% := 33 1/3 %
$\frac{3}{4}$ := 0.75
10^6 := 1,000,000
1 000 000 := 10^6
90^\circ := 90
\dfrac{1}{2} := 0.5
2.50 := $2.50 each
5/8 := 0.625
11 := $11
June 20 := \text{June 20}
\frac{3}{7} := \frac 3 7
3:00 PM := 3:00 pm
1101_2 := 1101_{2}
5:7 := 5:7
x=3 := 3
3 := x=3
100\text{ miles per hour} := 100
-\frac{3}{2} := -1.5 ;; -1 1/2
-1.5 := -1\frac{1}{2}
$5 and $6 := 5 and 6
50 cents := $0.50
$0.50 := 50¢
15 := 15 minutes
15 minutes := 900 seconds
x \in [1,2] := [1,2]
[1,2] := x \in [1,2]
1 < x < 2 := 1<x<2
14 := 14 apples
(x+1)(x-1) := x^2-1
abc := abc
$5 per hour := $5/hour
12 km/h := 12 kilometers per hour ;; 12 \text{ km/h}
1/2 := 1/2 cup ;; 1/2 cups
-3 := The answer is $-3$ ;; The answer is −3.
70 := 70 %
70\% := 70 ;; 0.7
\$70 := $70.00
2,3 := The roots are $2$ and $3$.
(-1, 2) := (−1, 2)
(2,\infty) := (2, \infty)
100 := The answer is **100** dollars. ;; **100** dollars ;; $100 USD ;; 100$
8.5 := 8.50 ;; 8 1/2 ;; $8\frac{1}{2}$ hours
7 := **Final Answer:** $7$ ;; Final Answer: \(\boxed{7}\)
\frac{9}{7} := 9/7
6.02e23 := 6.02 × 10^23 ;; 6.02\cdot10^{23}
0.001 := 10^{-3}
3\sqrt{2} := 3*sqrt(2) ;; \sqrt{18}
D := \text{D} ;; (d) ;; D. ;; **D** ;; The correct answer is D. ;; \boxed{\text{(D)}}
\text{(D)} := D
C := choice (C)
Tom := The answer is Tom
Friday := Friday
\pi := π
\frac{\pi}{6} := π/6
45 := 45^\circ
45^\circ := 45 degrees
45^{\circ} := $45^\circ$
x+2 := x + 2
x=2 := x = 2.
\left[0,1\right] := [0, 1]
\{-1,0,1\} := {−1, 0, 1} ;; -1, 0, and 1
1,234 := 1234.00
$1,234 := 1234
x := x
\frac{x}{2} := x/2
5 feet := 60 inches
1 hour := 60 min
1 kg := 1000 g
12 cubic inches := 12\text{ in}^3
50 := 50 ml
1.23 := 1.23\times10^0
16 := 16 square units ;; 16\text{ units}^2
9 := $9 each
40 := The answer is 40 years old. ;; He is 40 years old.
(0,\infty) := (0, +\infty) ;; x \in (0,\infty)
\begin{bmatrix}1&0\\0&1\end{bmatrix} := \left[\begin{matrix}1&0\\0&1\end{matrix}\right]
\begin{pmatrix}1&0\\0&1\end{pmatrix} := \left(\begin{array}{cc}1&0\\0&1\end{array}\right)
\begin{pmatrix} 1\\ 2\end{pmatrix} := \begin{pmatrix} 1\\[4pt] 2\end{pmatrix}
\begin{pmatrix} 1\\ 2\end{pmatrix} := \begin{pmatrix} 1\\ 2 \\ \end{pmatrix} ;; \begin{pmatrix} 1.0\\ 2\end{pmatrix}
\begin{pmatrix} 10,\!080\\ 2\end{pmatrix} := \begin{pmatrix} 10080\\ 2\end{pmatrix}
(1,2) := The point is (1, 2).
"""
WRONG = r"""
5 := 6 ;; not 5 ;; The answer is not 5 ;; The answer isn't 5. ;; less than 5 ;; 5 or 6 ;; 5, 6
5 := The answer is 5. Actually 6. ;; 5 dozen ;; 5 thousand ;; 5 hundred ;; 5! ;; 5x ;; 5\pi ;; 5^2 ;; 5² ;; \sqrt{5}
5 := -5 ;; 55 ;; 5 5 ;; 1/5 ;; 5/2 ;; 5 squared ;; 5 or more ;; 5 more than that is 12 ;; half of 5 ;; 5 plus 1
5 := \boxed{5}, \boxed{6} ;; 5 thirds ;; 5 is wrong ;; If x is 5 ;; (5,5) ;; 50 ;; 0.5 ;; 5.1 ;; 5.00001 ;; $50 ;; x
5 := five? ;; ~5~5 ;; 5,000 ;; 5.000.000 ;; 5 \cdot 2 ;; $ ;; 5 5/8 ;; 5\frac12 ;; 5e1 ;; }5{ ;; 5 out of 10 ;; 5 to 1
5 := 5 apples or 6 apples ;; The answer is either 5 or 6 ;; between 5 and 6 ;; at least 5 ;; > 5 ;; 5 < 6 ;; x > 5
5 := x \ne 5 ;; 5 + x ;; 5i ;; |5 - x| ;; 5, 5 or 5x ;; $5 million ;; $5k ;; $5M ;; -€5 ;; 5a
72 := 7 2 ;; 7\,2 ;; 7\ 2 ;; 7~2 ;; 7, 2 ;; The answer is 7 2.
9 := 7 2 ;; \boxed{7 2}
7 2 := 72
207 := 7 200
90 := 10\,080
5 cm := 5 m
$5 := €5
5 dollars := 5 euros
10000000001 := 10000000002
10000000001.0 := 10000000002
59616 := 59615 ;; 59615.99 ;; 59615.9999
0.0000001 := 0.0000002
1/8 := 0.1251
0.125 := 0.1254
1.2345 := 1.235
\begin{pmatrix} 5 \\ 6 \end{pmatrix} := \begin{pmatrix} 6 \\ 5 \end{pmatrix} ;; \begin{pmatrix} 5 & 6 \end{pmatrix}
\begin{pmatrix} -5 \\ 6 \end{pmatrix} := \begin{pmatrix} 5 \\ 6 \end{pmatrix}
x \leqslant 3 := x < 3 ;; x \geqslant 3
10 km/h := 10 m/s
20 °C := 20 °F
A := B ;; A or B ;; (A) or (B)
Evelyn := Angela ;; not Evelyn ;; Evelyn or Angela
2m := 2
6abcd := 6
6xyz := 6
even := odd ;; not even
2x := 2
2 := 2x ;; 2y^2 ;; 2 sin x
1234 := 1.234
1.234 := 1,234
1,234 := 1, 234
123456 := 1,23,456x
0,1,2 := 1,000, 2,000
1101_2 := 1101_3
(1,2) := (2,1) ;; [1,2] ;; (1,2]
[1,2) := [1,2]
\{1,2\} := \{1,3\}
3/4 := 4/3
x is even := y is even
1 1/2 := 11/2
1.5 := 11/2
0.25 := 2.5%
2.5 million := 2.5
1500000 := 1.5
20 := 2 dozen
3:4 := 4:3
x=5 := y=5
x=5,y=6 := x=6,y=5
12 := \boxed{11} \boxed{12} ;; 11 and 12 ;; 12 or 13 ;; 12 - 1 ;; 1 2 ;; 1, 2 ;; (1, 2) ;; 12:30 ;; 12 5/6
12 := \frac{12}{5} cm ;; 12 of 15 ;; 1{,}2 ;; 1\,2 ;; not sure, 12
yes := no
1/3 := 0.33
3.14 := 3.1416
-2 := 2
12 minutes := 12 hours
Monday := Tuesday
1000 grams := 1 gram
10 := 1010_2 ;; 10%10 ;; 10^\circ 30'
no solution := 0
6 := 3+2
4 := The answer is 3 or 4.
0.5 := 50
1/2 := 1/2x ;; 1/2 / 2
D := The answer is not D ;; A D ;; Dd
x := y
45^\circ := 45 minutes
100 := 1,00
"""
"""Each line: a reference answer, ``:=``, and answers to it, separated by ``;;``."""
RIGHT_WITH_SPACE = [
    ("5", "The answer is\n5"),
    ("12", "12, "),
    ("7", "**Final Answer**\n\n\\[ \\boxed{7} \\]"),
    ("\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}", "$$\\begin{pmatrix}\n1 & 0\\\\\n0 & 1\n\\end{pmatrix}$$"),
]
WRONG_WITH_SPACE = [("5", ""), ("5", "   ")]


def pairs(table: str) -> list[tuple[str, str]]:
    lines = [line.partition(" := ") for line in table.strip().splitlines()]
    return [(right, answer) for right, _, answers in lines for answer in answers.split(" ;; ")]


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    checker = AnswerChecker(cpu_limit_s=20)
    yield checker
    checker.close()


@pytest.mark.parametrize(("right", "answer"), [*pairs(RIGHT), *RIGHT_WITH_SPACE])
def test_an_everyday_spelling_of_the_answer_is_right(checker: AnswerChecker, right: str, answer: str) -> None:
    assert checker.check(answer, right).correct


@pytest.mark.parametrize(("right", "answer"), [*pairs(WRONG), *WRONG_WITH_SPACE])
def test_an_answer_that_looks_alike_is_wrong(checker: AnswerChecker, right: str, answer: str) -> None:
    assert not checker.check(answer, right).correct
