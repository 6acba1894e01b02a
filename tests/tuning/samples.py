"""Real code in the languages that have grammars, one documented function and one that is not in each."""

PYTHON = '''import os
from pathlib import Path


class Box:
    """A box — größer als 0."""

    def __init__(self, width: int, height: int = 2) -> None:
        self.width, self.height = width, height

    def area(self, scale: float = 1.0) -> float:
        """The area of this box in square units, multiplied by a scale.

        Negative sizes are refused.
        """
        if self.width < 0 or self.height < 0:
            raise ValueError("negative size")
        return self.width * self.height * scale


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "日本")
'''

JAVASCRIPT = """import { readFile } from './files.js';
const path = require('path');

/**
 * Adds up the prices of all the items in a basket.
 * @param {Array<{price: number}>} items
 */
export function total(items) {
  let sum = 0;
  for (const item of items) {
    sum += item.price;
  }
  return sum;
}

const double = (x) => { return x * 2; };
class Cart {
  // Puts one more item into the cart and says how many there are.
  add(item) {
    this.items.push(item);
    return this.items.length;
  }
}
"""

TYPESCRIPT = """import type { Item } from '../model/item';

interface Named { name: string; }

/** Finds the first item with the given name, if there is one. */
export function find<T extends Named>(items: T[], name: string): T | undefined {
  const found = items.filter((item) => item.name === name);
  return found[0];
}

export const View = ({ title }: { title: string }) => <div className="é">{title}</div>;
"""

GO = """package store

import (
\t"fmt"
\t"example.org/shop/internal/model"
)

// Put writes the item under its key and reports the old one,
// when there was one before.
func (s *Store) Put(item model.Item) (model.Item, bool) {
\told, ok := s.items[item.Key]
\ts.items[item.Key] = item
\treturn old, ok
}

func show(x int) string { return fmt.Sprintf("%d ✓", x) }
"""

RUST = """use crate::model::{Item, parse::Parser};
mod helper;

/// Counts the words of a text that are longer than the limit.
#[inline]
pub fn long_words(text: &str, limit: usize) -> usize {
    text.split_whitespace()
        .filter(|word| word.len() > limit)
        .count()
}

impl Store {
    fn get(&self, key: &str) -> Option<&Item> {
        match self.items.get(key) {
            Some(item) if item.live => Some(item),
            _ => None,
        }
    }
}
"""

JAVA = """package org.example.shop;

import java.util.List;
import org.example.model.Item;
import static org.example.util.Text.shorten;

public class Shop {
    /**
     * Sells an item to a customer and answers what is left of it.
     */
    @Override
    public int sell(Item item, int count) {
        if (count > item.stock()) {
            throw new IllegalArgumentException("not enough: " + item);
        }
        return item.take(count);
    }

    private List<String> names() { return List.of("ä", "b"); }
}
"""

C = """#include <stdio.h>
#include "list.h"

/* Inserts a value into the list, in order of the keys. */
static struct node *insert(struct node *head, int value)
{
    struct node *made = make_node(value);
    if (head == NULL || head->value >= value) {
        made->next = head;
        return made;
    }
    head->next = insert(head->next, value);
    return head;
}

int main(void) { printf("%d\\n", insert(NULL, 3)->value); return 0; }
"""

CPP = """#include "shape/box.hpp"
#include <vector>

namespace shape {

// Adds up the areas of all boxes that are not empty.
template <typename T>
double total(const std::vector<Box<T>>& boxes) {
    double sum = 0;
    for (const auto& box : boxes) {
        if (!box.empty()) sum += box.area();
    }
    return sum;
}

Box<int>::~Box() { release(handle_); }

}  // namespace shape
"""

SAMPLES = {
    "python": PYTHON,
    "javascript": JAVASCRIPT,
    "typescript": TYPESCRIPT,
    "go": GO,
    "rust": RUST,
    "java": JAVA,
    "c": C,
    "cpp": CPP,
}
