// Just enough of a document to see what the views make: elements, attributes, text.
class Node {}
class Text extends Node { constructor(text) { super(); this.text = text; } }
class Element extends Node {
  constructor(tag) { super(); this.tag = tag; this.attributes = {}; this.children = []; }
  setAttribute(name, value) {
    if (/^on/i.test(name) || name === "style") throw new Error("attribute " + name);
    this.attributes[name] = value;
  }
  addEventListener() {}
  append(child) { this.children.push(child); }
}
const document = {
  createElement: (tag) => new Element(tag),
  createElementNS: (_, tag) => new Element(tag),
  createTextNode: (text) => new Text(text),
};
