r"""LaTeX formulas as one line of Unicode: ``\mathrm{TV} \le B e^{-T}`` becomes ``TV ≤ B e^(−T)``.

For reading in a terminal, not for typesetting: fractions become a/b, an index that has no Unicode digit keeps its _ or ^, and an unknown
command keeps its name. Nothing raises: a formula that is not well formed is shown as far as it is understood.
"""

import re

__all__ = ["plain"]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&~$]|[<>]=|\s+|[A-Za-z]+|[0-9.]+|.", re.S)

_WORDS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π",
    "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "nabla": "∇", "partial": "∂", "int": "∫", "iint": "∬", "sum": "Σ", "prod": "Π",
    "infty": "∞", "ell": "ℓ", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "sim": "~",
    "propto": "∝", "ll": "≪", "gg": "≫", "preceq": "⪯", "succeq": "⪰", "to": "→", "mapsto": "↦", "Rightarrow": "⇒", "iff": "⇔",
    "in": "∈", "subset": "⊂", "cup": "∪", "cap": "∩", "forall": "∀", "exists": "∃", "times": "×", "cdot": "·", "pm": "±", "circ": "∘",
    "otimes": "⊗", "ldots": "…", "dots": "…", "cdots": "…", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "Vert": "‖",
    "lVert": "‖", "rVert": "‖", "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "top": "ᵀ", "prime": "′", "wedge": "∧",
    "vee": "∨", "colon": ":", "quad": "  ", "qquad": "   ", "left": "", "right": "", "big": "", "Big": "", "bigl": "", "bigr": "",
    "Bigl": "", "Bigr": "", "displaystyle": "", "limits": "", "nonumber": "", "lbrace": "{", "rbrace": "}", "parallel": "‖",
    "|": "‖", ",": " ", ";": " ", ":": " ", " ": " ", "!": "", "\\": "; ", "{": "{", "}": "}", "%": "%", "_": "_", "&": "&", "#": "#",
}  # fmt: skip
_RELATIONS = frozenset("≤≥≠≈~∝≪≫⪯⪰→↦⇒⇔∈⊂=<>±×∪∩")
_ACCENTS = {"hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303", "bar": "\u0304", "overline": "\u0304", "dot": "\u0307"}
_FONTS = {"mathrm", "mathbf", "mathcal", "mathbb", "mathsf", "mathit", "boldsymbol", "text", "textrm", "operatorname", "mathscr", "mathfrak"}
_FRACTIONS = {"frac", "tfrac", "dfrac"}
_KNOWN = {*_WORDS, *_ACCENTS, *_FONTS, *_FRACTIONS, "sqrt", "begin", "end"}
_OVER = dict(zip("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻", strict=True))
_UNDER = dict(zip("0123456789+-−", "₀₁₂₃₄₅₆₇₈₉₊₋₋", strict=True))


def plain(latex):
    """The formula as one line of Unicode text; text without a formula in it is left alone."""
    if not re.search(r"\\|[_^]\{|\$", latex):
        return latex
    text = _sequence([*_TOKEN.findall(latex)][::-1], closing=None)
    text = re.sub(r"[ \t\n]+", " ", text)
    text = re.sub(r"([(\[⟨]) ", r"\1", text)
    return re.sub(r" ([)\],.;:⟩])", r"\1", text).strip()


def _sequence(stack, closing):
    """Everything up to ``closing``; ``stack`` holds the tokens still to come, the next one last."""
    out = []
    while stack:
        token = stack.pop()
        if token == closing:
            break
        item = _item(token, stack)
        apart = _is_name(token) and out and out[-1][-1:].isalnum()  # h\log x: a name stands apart from a letter before it
        out.append(f" {item}" if apart else item)
    return "".join(out)


def _is_name(token):
    return token[:1] == "\\" and token[1:].isalpha() and token[1:] not in _KNOWN


def _item(token, stack):
    if token == "{":
        return _sequence(stack, "}")
    if token in "^_":
        return _index(token, _argument(stack))
    if token in "&$":
        return ""
    if token == "~" or token.isspace():
        return " "
    if token in ("-", "<=", ">="):
        return {"-": "−", "<=": " ≤ ", ">=": " ≥ "}[token]
    if not token.startswith("\\"):
        return f" {token} " if token in _RELATIONS else token
    name = token[1:]
    if name in ("begin", "end"):
        _argument(stack)
        return ""
    if name in _FRACTIONS:
        return f"{_closed(_argument(stack))}/{_closed(_argument(stack))}"
    if name == "sqrt":
        return f"√{_closed(_argument(stack))}"
    if name in _ACCENTS:
        letter = _argument(stack)
        return letter[:1] + _ACCENTS[name] + letter[1:]
    if name in _FONTS:
        return _argument(stack)
    if name in ("lVert", "lvert", "langle", "lfloor"):  # what opens a pair and what closes it may look the same
        while stack and stack[-1].isspace():
            stack.pop()
    if name in _WORDS:
        sign = _WORDS[name]
        return f" {sign} " if sign in _RELATIONS and sign else sign
    following = stack[-1] if stack else ""
    return f"{name} " if following[:1].isalnum() else name  # \log p, \sup_t: a name stands apart from a letter after it


def _argument(stack):
    """The next token or group."""
    while stack and stack[-1].isspace():
        stack.pop()
    if not stack:
        return ""
    token = stack.pop()
    if token.isalnum() and len(token) > 1:  # x^ab is x^a b
        stack.append(token[1:])
        token = token[0]
    return _item(token, stack)


def _closed(text):
    """In brackets if a sign inside would be read otherwise."""
    text = text.strip()
    simple = re.fullmatch(r"([\w∞]|[0-9.]+|\w+\([^()]*\)|\([^()]*\)|\[[^][]*\]|[|‖][^|‖]*[|‖])[′²³\u0302-\u0307]?", text)
    return text if simple else f"({text})"


def _index(sign, text):
    text = text.strip()
    digits = _OVER if sign == "^" else _UNDER
    if text in ("′", "ᵀ", "*", "∗"):
        return text
    if text and all(c in digits for c in text):
        return "".join(digits[c] for c in text)
    return f"{sign}{text}" if len(text) == 1 or (sign == "_" and text.isalnum()) else f"{sign}({text})"
