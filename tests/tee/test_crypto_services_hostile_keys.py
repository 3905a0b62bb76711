"""Keys that are numbers of a TA's choice, in every asymmetric call: a TEE_Result each time, never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee.abi import results
from tee.abi.algorithms import Algorithm, Mode, OperationClass, operation_class
from tee.abi.attributes import Attr, Curve
from tee.abi.objects import TYPES, AttrFlag, AttrKind, ObjectType
from tee.abi.results import Result
from tee.crypto.task import Task
from tee.services.crypto_states import key_types
from tests.tee.fake_ta import FakeTask
from tests.tee.key_kit import AttrValue

_ASYMMETRIC = (OperationClass.ASYMMETRIC_CIPHER, OperationClass.ASYMMETRIC_SIGNATURE, OperationClass.KEY_DERIVATION)
_ALGORITHMS = [algo for algo in Algorithm if operation_class(algo) in _ASYMMETRIC]
_PAIRS = [row.type for row in TYPES.values() if row.type.name.endswith(("_KEYPAIR", "_PUBLIC_KEY"))]
_NUMBER = st.one_of(
    st.binary(max_size=72),
    st.integers(0, 3).map(lambda small: bytes([small])),
    st.sampled_from([8, 24, 32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
)
_PARAMETER: st.SearchStrategy[AttrValue] = st.one_of(
    st.tuples(st.sampled_from([int(attr) for attr in Attr if not attr >> 29 & 1]), st.binary(max_size=64)),
    st.tuples(st.sampled_from([int(attr) for attr in Attr if attr >> 29 & 1]), st.integers(0, (1 << 32) - 1)),
)


@st.composite
def keys(draw: st.DrawFn, types: frozenset[int]) -> tuple[int, list[AttrValue]]:
    """(type, attributes) that populate takes, unless a size is wrong."""
    props = TYPES[draw(st.sampled_from(sorted(types)))]
    attrs: list[AttrValue] = []
    for attr in props.attrs:
        if attr.kind is AttrKind.VALUE:
            attrs.append((attr.attr, draw(st.sampled_from([*map(int, Curve), 0, 64]))))
        elif attr.kind is AttrKind.BIGNUM:
            attrs.append((attr.attr, draw(_NUMBER)))
        else:
            size = {AttrKind.CURVE25519: 32, AttrKind.CURVE448: 56}.get(attr.kind, 20)
            attrs.append((attr.attr, draw(st.binary(min_size=size, max_size=size))))
    return props.type, attrs


def make(ta: FakeTask, key: tuple[int, list[AttrValue]]) -> int:
    type_, attrs = key
    props = TYPES[type_]
    taken = {attr.attr for attr in props.attrs if attr.flags & (AttrFlag.REQUIRED | AttrFlag.OPTIONAL_GROUP)}
    handle = ta.alloc(type_, min(props.max_bits, 1024))
    with ta.memory.scratch():
        assert isinstance(ta.populate(handle, *(attr for attr in attrs if attr[0] in taken)), Result)
    return handle


@pytest.mark.parametrize("algo", _ALGORITHMS, ids=lambda algo: algo.name)
@given(data=st.data())
@settings(max_examples=12)
def test_any_key(algo: Algorithm, data: st.DataObject) -> None:
    native = Task(max_states=4)
    ta = FakeTask(native, limit=8)
    mode = data.draw(st.sampled_from(list(Mode)))
    types = key_types(algo, mode) & TYPES.keys()
    if not types:
        return
    first = make(ta, data.draw(keys(types)))
    second = make(ta, data.draw(keys(types))) if algo is Algorithm.SM2_KEP else 0
    result, state = ta.state(algo, mode, first, second)
    if result == results.SUCCESS:
        text = data.draw(st.binary(max_size=130))
        signature = data.draw(st.binary(max_size=140))
        parameters = ta.attributes(*data.draw(st.lists(_PARAMETER, max_size=8)))
        place = ta.memory.place
        source = (place(text), len(text))
        room = data.draw(st.sampled_from([0, 1, 64, 600]))
        calls = (
            ("asymm_operate", state, *parameters, *source, place(bytes(room)), ta.cell(room, 8)),
            ("asymm_verify", state, *parameters, *source, place(signature), len(signature)),
            ("cryp_derive_key", state, *parameters, ta.alloc(ObjectType.GENERIC_SECRET, 256)),
        )
        for call in calls:
            assert isinstance(ta.call(*call), Result)
    native.close()


@pytest.mark.parametrize("type_", _PAIRS, ids=lambda type_: type_.name)
@given(data=st.data())
@settings(max_examples=8)
def test_any_parameters_of_a_new_key(type_: ObjectType, data: st.DataObject) -> None:
    ta = FakeTask()
    props = TYPES[type_]
    bits = data.draw(st.sampled_from([props.min_bits, min(props.max_bits, 512), 576, 257]))
    taken = {attr.attr for attr in props.attrs if attr.flags & (AttrFlag.GEN_KEY_OPT | AttrFlag.GEN_KEY_REQ)}
    _, attrs = data.draw(keys(frozenset({type_})))
    given_ = [attr for attr in attrs if attr[0] in taken]
    handle = ta.alloc(type_, min(props.max_bits, 1024))
    assert isinstance(ta.call("cryp_obj_generate_key", handle, bits, *ta.attributes(*given_)), Result)
