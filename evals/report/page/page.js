"use strict";
// Everything that a model wrote goes into the page as text, never as markup.
(() => {
  const PAGE = 50;
  const data = JSON.parse(document.getElementById("data").textContent);
  const tasks = data.filter((task) => task.rows.length > 0);
  const find = (id) => document.getElementById(id);
  const fields = ["task", "left", "right", "show", "class", "search"].map(find);
  const [task, left, right, show, kind, search] = fields;
  const list = find("list"), more = find("more"), count = find("count");
  let found = [], shown = 0;

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function fill(select, options) {
    const kept = select.value;
    select.replaceChildren(...options.map(([value, text]) => {
      const option = element("option", text);
      option.value = value;
      return option;
    }));
    if (options.some(([value]) => value === kept)) select.value = kept;
  }

  const current = () => tasks[Number(task.value)];
  const sides = () => {
    const numbers = [Number(left.value)];
    if (right.value !== "" && right.value !== left.value) numbers.push(Number(right.value));
    return numbers;
  };
  const isRight = (answer) => answer.error === null && answer.value >= 1;

  function say(answer) {
    if (answer === null) return ["not measured", "none"];
    if (answer.error !== null) return [answer.error, "wrong"];
    if (answer.value >= 1) return ["right", "right"];
    return [(100 * answer.value).toFixed(0) + "%", answer.value > 0 ? "none" : "wrong"];
  }

  function startTask() {
    const names = current().models.map((name, number) => [String(number), name]);
    fill(left, names);
    fill(right, names);
    left.value = "0";
    right.value = names.length > 1 ? "1" : "0";
    right.parentElement.hidden = names.length < 2;
    const classes = new Set();
    for (const row of current().rows)
      for (const answer of row.answers) if (answer !== null && answer.error !== null) classes.add(answer.error);
    fill(kind, [["", "any"], ...[...classes].sort().map((name) => [name, name])]);
    kind.value = "";
  }

  function wanted(row, numbers, words) {
    const answers = numbers.map((number) => row.answers[number]).filter((answer) => answer !== null);
    if (!answers.length) return false;
    const first = row.answers[numbers[0]], second = numbers.length > 1 ? row.answers[numbers[1]] : null;
    const both = first !== null && second !== null;
    switch (show.value) {
      case "wrong": if (answers.every(isRight)) return false; break;
      case "right": if (!answers.every(isRight)) return false; break;
      case "differ": if (!both || (first.value === second.value && first.error === second.error)) return false; break;
      case "lost": if (!both || !isRight(first) || isRight(second)) return false; break;
      case "won": if (!both || isRight(first) || !isRight(second)) return false; break;
    }
    if (kind.value && !answers.some((answer) => answer.error === kind.value)) return false;
    if (!words.length) return true;
    const text = [row.item, row.prompt, ...answers.flatMap((answer) =>
      [answer.text, answer.extracted, answer.error, answer.detail, answer.prompt])].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function block(title, text, other) {
    const parts = [element("div", title, "small")];
    const pre = element("pre");
    if (other === undefined || other === null) pre.textContent = text;
    else {
      const known = new Set(other.split("\n").map((line) => line.trim()));
      const lines = text.split("\n");
      lines.forEach((line, index) => {
        const end = index < lines.length - 1 ? "\n" : "";
        pre.append(known.has(line.trim()) ? document.createTextNode(line + end) : element("span", line + end, "only"));
      });
    }
    parts.push(pre);
    return parts;
  }

  function side(row, number, other) {
    const answer = row.answers[number];
    const box = element("div", undefined, "m" + (number % 4));
    box.append(element("h4", current().models[number]));
    const [text, name] = say(answer);
    box.append(element("div", text, "verdict " + name));
    if (answer === null) return box;
    if (answer.detail) box.append(element("div", answer.detail));
    const facts = [answer.finish];
    if (answer.seconds !== null) facts.push(answer.seconds.toFixed(2) + " s");
    if (answer.tokens !== null) facts.push(answer.tokens + " tokens");
    box.append(element("div", facts.join(", "), "small"));
    const compared = other === undefined || row.answers[other] === null ? null : row.answers[other];
    if (answer.prompt) box.append(...block("its own " + answer.title, answer.prompt));
    box.append(...block("output", answer.text, compared && compared.text));
    if (answer.extracted && answer.extracted !== answer.text) box.append(...block("what was judged", answer.extracted));
    if (answer.extra) box.append(...block("further figures", answer.extra));
    return box;
  }

  function sample(row) {
    const box = element("details", undefined, "sample");
    const head = element("summary");
    const attempts = current().attempts > 1 ? " #" + (row.attempt + 1) : "";
    head.append(element("span", row.item + attempts, "name"));
    const numbers = sides();
    for (const number of numbers) {
      const [text, name] = say(row.answers[number]);
      head.append(element("span", text, "verdict " + name));
    }
    box.append(head);
    box.addEventListener("toggle", () => {
      if (!box.open || box.childElementCount > 1) return;
      if (row.prompt) box.append(...block(row.title, row.prompt));
      else box.append(element("div", "the prompt was not kept; its sha256 is " + row.sha256, "small"));
      const pair = element("div", undefined, "pair");
      numbers.forEach((number, index) => pair.append(side(row, number, numbers[1 - index])));
      box.append(pair);
    });
    return box;
  }

  function grow() {
    list.append(...found.slice(shown, shown + PAGE).map(sample));
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown >= found.length;
  }

  function update() {
    const numbers = sides();
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = current().rows.filter((row) => wanted(row, numbers, words));
    shown = 0;
    list.replaceChildren();
    grow();
    count.textContent = found.length + " of " + current().rows.length + " samples";
    const state = new URLSearchParams(fields.map((field) => [field.id, field.value]));
    history.replaceState(null, "", "#" + state);
  }

  if (!tasks.length) {
    find("list").append(element("p", "This report holds no samples."));
    return;
  }
  fill(task, tasks.map((each, number) => [String(number), each.name]));
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("task") && tasks[Number(asked.get("task"))]) task.value = asked.get("task");
  startTask();
  for (const field of fields.slice(1)) {
    const value = asked.get(field.id);
    if (value === null) continue;
    if (field === search || [...field.options].some((option) => option.value === value)) field.value = value;
  }
  find("controls").hidden = false;
  task.addEventListener("change", () => { startTask(); update(); });
  for (const field of [left, right, show, kind]) field.addEventListener("change", update);
  let waiting;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
  more.addEventListener("click", grow);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
  });
  update();
})();
