from gateway.store import keys


def test_all_of_a_virtual_key_is_in_its_shard():
    assert keys.key_record("07abcdefghij") == "{s07}:key:07abcdefghij"


def test_all_of_the_catalogue_is_in_one_slot():
    names = [
        keys.CATALOG_ALIASES,
        keys.CATALOG_DISCOVERED,
        keys.CATALOG_EPOCH,
        keys.CATALOG_FILE,
        keys.alias_revisions("support"),
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith("{catalog}:") for name in names)
