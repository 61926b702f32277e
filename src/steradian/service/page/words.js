// Say an answer in plain words: one line first, the numbers behind it for those who open them.

export const percent = (value) => `${(value * 100).toFixed(value > 0.9995 ? 0 : 1)} %`;

// How sure a match is, by the probability that both pictures show the same, if same and different are equally likely.
const LEVELS = [[0.99, "Very likely."], [0.9, "Likely."], [0, "Perhaps."]];

export function verdict(result) {
  if (result.decision === "match") return `${result.label}.`;
  if (result.decision === "ambiguous") return `${result.matches[0].label} or ${result.matches[1].label}.`;
  return result.decision === "poor" ? "Too poor to tell." : "Unknown.";
}

export function sureness(result) {
  if (result.decision === "match") return result.probability === null ? "" : LEVELS.find(([least]) => result.probability >= least)[1];
  if (result.decision === "ambiguous") return "They are too much alike here to tell them apart.";
  if (result.decision === "poor") return "It is too blurred, too small or covered.";
  if (result.elsewhere) return `${result.elsewhere} is another one in this picture.`;
  return result.matches.length ? "Nothing enrolled is close enough." : "Nothing is enrolled yet.";
}

export function numbers(result) {
  const limit = `the threshold of ${result.threshold.toFixed(2)}`;
  const nearest = `The nearest enrolled picture has a cosine of ${result.similarity.toFixed(2)}, ${result.similarity > result.threshold ? "above" : "not above"} ${limit}.`;
  const same = result.probability === null || result.similarity <= result.threshold ? "" : ` If same and different were equally likely before, it is the same with ${percent(result.probability)}.`;
  return nearest + same;
}

export function candidates(result) {
  const named = (one) => {
    const ranked = result.ranking.find((other) => other.label === one);
    return ranked ? `${one} (${percent(ranked.probability)})` : one;
  };
  if (result.known === false) return "It is unlike every class that the model was trained on.";
  if (result.candidates === null) return "";
  const listed = result.candidates.slice(0, 8).map(named).join(", ") + (result.candidates.length > 8 ? ", …" : "");
  const start = result.candidates.length === 1 ? `Probably ${listed}.` : `One of: ${listed}.`;
  return `${start} The true class is in such a list ${percent(result.coverage)} of the time.`;
}
