// What a conversation is held with: the model, the system prompt, tools, a schema, sampling.

import { Failure } from "./api.js";
import { can, modelChoice } from "./directory.js";
import { area, field, given, more } from "./field.js";
import { panel } from "./panel.js";
import { sampling } from "./sampling.js";

const TOOLS = `[{
  "name": "get_weather",
  "description": "The weather of a city",
  "parameters": {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"]
  }
}]`;
const SCHEMA = `{
  "type": "object",
  "properties": {"name": {"type": "string"}},
  "required": ["name"]
}`;

export class Settings {
  /** `onmodel` is called with the chosen model. */
  constructor(onmodel) {
    const code = (placeholder) => area({ class: "code", rows: 6, placeholder, spellcheck: "false" });
    this.system = area({ name: "system", rows: 3, placeholder: "You are a helpful assistant." });
    this.tools = code(TOOLS);
    this.schema = code(SCHEMA);
    this.sampling = sampling();
    const tools = more("Tools", field("Functions, as a JSON list", this.tools, "You answer the calls yourself."));
    this.model = modelChoice("chat", (model) => {
      tools.hidden = model !== null && !can(model, "tools");
      onmodel(model);
    });
    this.element = panel(
      field("Model", this.model.element),
      field("System prompt", this.system),
      this.sampling.element,
      tools,
      more("Schema of the answer", field("JSON schema", this.schema)),
    );
  }

  /** As they are now. Throws Failure where one is no JSON. */
  read() {
    const model = this.model.chosen();
    if (!model) throw new Failure("There is no model to talk to. See Models.");
    return {
      model: model.id,
      system: this.system.value.trim(),
      tools: can(model, "tools") ? parsed("Tools", this.tools.value) : null,
      schema: parsed("Schema", this.schema.value),
      numbers: given(this.sampling.numbers),
    };
  }
}

function parsed(name, text) {
  if (!text.trim()) return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure(`${name}: this is no JSON. ${error.message}`);
  }
}
