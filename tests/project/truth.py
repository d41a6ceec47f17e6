"""Finds truth tests of outcomes, as far as names and annotations show them.

An outcome is a value of a class with `__bool__`, such as a decision: a refusal is false. Our own code compares instead,
`is None` or `.allowed`: in `refusal = refusal or await take()` a refusal that is false would be lost without a trace.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

_WRAPPERS = frozenset({"AbstractAsyncContextManager", "Annotated", "Awaitable", "Future", "Optional", "Union"})
"""What an annotation may wrap an outcome in, so that an `await`, an `async with` or nothing at all takes it out."""
_PASSED_ON = frozenset({"replace", "longest_refusal"})
"""Functions that return what they are given."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)


class Outcomes(Struct, frozen=True, kw_only=True):
    """The classes with `__bool__`, the functions and fields whose value is of one, and those with several of them."""

    classes: frozenset[str]
    calls: frozenset[str]
    fields: frozenset[str]
    collections: frozenset[str]


def outcomes(sources: Mapping[str, str]) -> Outcomes:
    """Return what the modules of the package say of outcomes."""
    nodes = [node for source in sources.values() for node in ast.walk(ast.parse(source))]
    classes = frozenset(
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef)
        and any(isinstance(child, ast.FunctionDef) and child.name == "__bool__" for child in node.body)
    )
    annotated = [
        (target.id if isinstance(target, ast.Name) else target.attr, annotation)
        for node in nodes
        if isinstance(node, ast.AnnAssign)
        for target, annotation in [(node.target, node.annotation)]
        if isinstance(target, ast.Attribute | ast.Name)
    ]
    returning = [(node.name, node.returns) for node in nodes if isinstance(node, _Function) and node.returns]
    return Outcomes(
        classes=classes,
        calls=frozenset(name for name, annotation in returning if _is_outcome(annotation, classes)),
        fields=frozenset(name for name, annotation in annotated if _is_outcome(annotation, classes)),
        collections=frozenset(
            name for name, annotation in (*annotated, *returning) if _holds_outcomes(annotation, classes)
        ),
    )


def truth_tests(path: str, source: str, known: Outcomes) -> list[str]:
    """Return each place of a file that tests the truth of an outcome."""
    found = list[tuple[int, str]]()
    for scope in ast.walk(ast.parse(source)):
        if isinstance(scope, _SCOPES):
            names = _Names(known, scope)
            found += [
                (tested.lineno, ast.unparse(tested))
                for node in _own_nodes(scope)
                for tested in map(_last, _tested(node))
                if names.is_outcome(tested)
            ]
    return [f"{path}:{line} tests the truth of {text}" for line, text in sorted(set(found))]


class _Names:
    """The names of one scope that stand for an outcome, or for several."""

    def __init__(self, known: Outcomes, scope: ast.AST) -> None:
        self._known = known
        self._single: set[str] = set()
        self._several: set[str] = set()
        arguments = scope.args if isinstance(scope, _Function) else None
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if arguments else ():
            if one.annotation is not None:
                self._annotate(one.arg, one.annotation)
        for _ in range(2):  # a name that is assigned from a name below it is found in the second round
            for node in _own_nodes(scope):
                self._bind(node)

    def is_outcome(self, node: ast.AST) -> bool:
        """Return True if the value of an expression may be an outcome."""
        match node:
            case ast.Name(id=name):
                return name in self._single
            case ast.Attribute(attr=name):
                return name in self._known.fields
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.is_outcome(value)
            case ast.Call(func=function, args=arguments):
                return self._returns_outcome(function, arguments)
            case ast.Subscript(value=value, slice=position):
                return not isinstance(position, ast.Slice) and self._is_collection(value)
            case ast.IfExp(body=body, orelse=orelse):
                return any(map(self.is_outcome, (body, orelse)))
            case ast.BoolOp(values=values):
                return any(map(self.is_outcome, values))
            case _:
                return False

    def _returns_outcome(self, function: ast.AST, arguments: Iterable[ast.AST]) -> bool:
        if isinstance(function, ast.Attribute) and function.attr in ("get", "pop"):
            return self._is_collection(function.value)
        name = getattr(function, "attr", getattr(function, "id", None))
        passed_on = name in _PASSED_ON and any(map(self.is_outcome, arguments))
        return passed_on or name in self._known.calls or name in self._known.classes

    def _is_collection(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._several
            case ast.Attribute(attr=name) | ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return name in self._known.collections
            case ast.Await(value=value):
                return self._is_collection(value)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return any(map(self.is_outcome, items))
            case ast.ListComp(elt=item) | ast.GeneratorExp(elt=item) | ast.SetComp(elt=item):
                return self.is_outcome(item)
            case _:
                return False

    def _bind(self, node: ast.AST) -> None:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                self._assign(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                self._annotate(name, annotation)
            case ast.withitem(context_expr=value, optional_vars=ast.Name(id=name)):
                self._assign(name, value)
            case (
                ast.For(target=ast.Name(id=name), iter=value)
                | ast.AsyncFor(target=ast.Name(id=name), iter=value)
                | ast.comprehension(target=ast.Name(id=name), iter=value)
            ) if self._is_collection(value):
                self._single.add(name)
            case _:
                pass

    def _assign(self, name: str, value: ast.AST) -> None:
        if self.is_outcome(value):
            self._single.add(name)
        if self._is_collection(value):
            self._several.add(name)

    def _annotate(self, name: str, annotation: ast.AST) -> None:
        if _is_outcome(annotation, self._known.classes):
            self._single.add(name)
        elif _holds_outcomes(annotation, self._known.classes):
            self._several.add(name)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes of a scope without those of the scopes in it."""
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)


def _tested(node: ast.AST) -> Iterable[ast.AST]:
    """Return the expressions of which the node tests the truth."""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return (test,)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return (operand,)
        case ast.BoolOp(values=values):
            return values[:-1]
        case ast.comprehension(ifs=conditions):
            return conditions
        case ast.match_case(guard=ast.expr() as guard):
            return (guard,)
        case ast.Call(func=ast.Name(id="bool"), args=arguments):
            return arguments
        case ast.Call(func=ast.Name(id="any" | "all"), args=[ast.GeneratorExp(elt=item) | ast.ListComp(elt=item)]):
            return (item,)
        case _:
            return ()


def _last(node: ast.AST) -> ast.AST:
    """Return the operand that decides the truth of an expression after all others; they are found by themselves."""
    while isinstance(node, ast.BoolOp):
        node = node.values[-1]
    return node


def _is_outcome(annotation: ast.AST, classes: frozenset[str]) -> bool:
    """Return True if a value of the annotation may be an outcome itself."""
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in classes
        case ast.BinOp(left=left, right=right):
            return _is_outcome(left, classes) or _is_outcome(right, classes)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner) if name in _WRAPPERS:
            return any(_is_outcome(one, classes) for one in (inner.elts if isinstance(inner, ast.Tuple) else (inner,)))
        case ast.Constant(value=str() as text):
            return any(name.strip() in classes for name in text.split("|"))
        case _:
            return False


def _holds_outcomes(annotation: ast.AST, classes: frozenset[str]) -> bool:
    """Return True if the annotation is a collection of outcomes."""
    return isinstance(annotation, ast.Subscript) and any(
        _is_outcome(node, classes) for node in ast.walk(annotation.slice)
    )
