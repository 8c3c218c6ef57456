# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A query an item, in place of one for all of them."""
import time

import lib

LISTS, ITEMS = 30, 12


def work():
    db = lib.Connection("database")
    for _ in range(LISTS):
        for _ in range(ITEMS if lib.FAULTY else 1):
            db.call(ms=3, what=f"select * from items where id = {lib.number()}")
        time.sleep(0.04)  # what is done with them
    return LISTS * ITEMS


lib.run(work)
