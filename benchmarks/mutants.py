"""Small mistakes to be put into a module: what is changed, where, and how it reads before and after.

Left alone: docstrings, annotations, messages and other texts, logging, notes on errors, `__repr__` and `__str__`, what
only type checkers read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import attrs

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
TALK = {"debug", "info", "warning", "exception", "add_note", "warn"}
UNSEEN = {"__repr__", "__str__"}


@attrs.frozen
class Mutant:
    """One changed node.

    Args:
        module: The module's path below the package.
        function: The function's qualified name, or `<module>`.
        line: Where.
        before: The statement or expression as it is.
        after: As it becomes.
        place: The node's number in the order of `ast.walk`.
        change: Which of the node's changes.
        runs: Is it in a function's body, which runs when the function is called? Else it runs at import.
    """

    module: str
    function: str
    line: int
    before: str
    after: str
    place: int
    change: int
    runs: bool = attrs.field(default=True, eq=False)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.function}: {self.before}  ->  {self.after}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same when lines move."""
        return self.module, self.function, self.before, self.after


Change = Callable[[], ast.AST]


def changes(node: ast.AST) -> list[Change]:  # noqa: PLR0911, PLR0912, C901 - a table
    """The nodes that may stand in place of this one; it is changed only when one of them is made."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            return [lambda: ast.Compare(node.left, [COMPARISONS[type(operator)]()], node.comparators)]
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return [lambda: ast.BoolOp(other, node.values)]
        case ast.BinOp(op=operator) if type(operator) in OPERATORS and not _is_text(node):
            return [lambda: ast.BinOp(node.left, OPERATORS[type(operator)](), node.right)]
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return [lambda: node.operand]
        case ast.Constant(value=bool()):
            return [lambda: ast.Constant(not node.value)]
        case ast.Constant(value=int() | float()):
            return [lambda: ast.Constant(node.value + 1)]
        case ast.IfExp():
            return [lambda: ast.IfExp(_negated(node.test), node.body, node.orelse)]
        case ast.If() | ast.While():
            return [lambda: type(node)(_negated(node.test), node.body, node.orelse)]
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            return [lambda: ast.Return(ast.Constant(None))]
        case ast.Expr(value=ast.Call()) | ast.Raise():
            return [ast.Pass]
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return [ast.Pass]
        case ast.AugAssign(op=operator) if type(operator) in OPERATORS:
            return [ast.Pass, lambda: ast.AugAssign(node.target, OPERATORS[type(operator)](), node.value)]
        case ast.Break():
            return [ast.Continue]
        case ast.Continue():
            return [ast.Break]
        case ast.Call(func=ast.Name(id=name)) if name in OPPOSITES:
            return [lambda: ast.Call(ast.Name(OPPOSITES[name], ast.Load()), node.args, node.keywords)]
    return []


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
        for side in ast.walk(node)
    )


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Every mistake that can be put into a module."""
    tree = ast.parse(source)
    left_alone, functions = _left_alone(tree), _functions(tree)
    runs = _in_bodies(tree)
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in left_alone:
            continue
        for number, change in enumerate(changes(node)):
            before = _shown(node)
            after = _shown(ast.fix_missing_locations(ast.copy_location(change(), node)))
            yield Mutant(
                module,
                functions.get(id(node), "<module>"),
                node.lineno,
                before,
                after,
                place,
                number,
                id(node) in runs,
            )


def mutated(mutant: Mutant, source: str) -> ast.Module:
    """The module with the mistake in it."""
    tree = ast.parse(source)
    node = next(node for place, node in enumerate(ast.walk(tree)) if place == mutant.place)
    changed = ast.copy_location(changes(node)[mutant.change](), node)
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, changed)
            elif isinstance(value, list) and any(item is node for item in value):
                setattr(parent, name, [changed if item is node else item for item in value])
    return ast.fix_missing_locations(tree)


def statement_lines(mutant: Mutant, source: str) -> range:
    """The lines of the statement that a mistake is in; of one with a body, those of its head."""
    tree = ast.parse(source)
    above = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    innermost = next(node for place, node in enumerate(ast.walk(tree)) if place == mutant.place)
    while not isinstance(innermost, ast.stmt):
        innermost = above[id(innermost)]
    body = getattr(innermost, "body", None)
    last = body[0].lineno - 1 if isinstance(body, list) else innermost.end_lineno or innermost.lineno
    return range(innermost.lineno, max(last, innermost.lineno) + 1)


def _in_bodies(tree: ast.Module) -> set[int]:
    """The nodes that run when a function is called: not its defaults, not a class's own statements."""
    bodies = [
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
    ]
    bodies += [node.body for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return {id(inner) for statement in bodies for inner in ast.walk(statement)}


def _shown(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:100]


def _functions(tree: ast.Module) -> dict[int, str]:
    named: dict[int, str] = {}

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}".lstrip(".")
            named[id(child)] = inner or "<module>"
            visit(child, inner)

    visit(tree, "")
    return named


def _left_alone(tree: ast.Module) -> set[int]:  # noqa: C901 - a table
    """The nodes whose changes nobody could or should notice."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                roots.append(node)
            case ast.AnnAssign():
                roots.append(node.annotation)
            case ast.arg(annotation=ast.expr() as annotation):
                roots.append(annotation)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                roots += node.decorator_list
                roots += [node] if node.name in UNSEEN else []
                roots += [node.returns] if getattr(node, "returns", None) else []
                roots += getattr(node, "keywords", [])
            case ast.If() if "TYPE_CHECKING" in ast.unparse(node.test):
                roots.append(node)
            case ast.Call(func=ast.Attribute(attr=name)) if name in TALK:
                roots.append(node)
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))) if name in TALK:
                roots.append(node)
            case ast.Call(func=ast.Attribute(attr="field")):
                roots += [
                    keyword for keyword in node.keywords if keyword.arg in {"repr", "eq", "init", "kw_only"}
                ]
            case ast.JoinedStr():
                roots.append(node)
    return {id(inner) for root in roots for inner in ast.walk(root)}
