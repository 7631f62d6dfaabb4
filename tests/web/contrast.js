// Which pairs of the page's colours fall under their contrast (WCAG 2.2), over all hues: a list of words, empty when none.
() => {
  const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
  const rgb = (value) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = value; pen.fillRect(0, 0, 1, 1); return pen.getImageData(0, 0, 1, 1).data; };
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(rgb(a)), light(rgb(b))].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const probe = document.createElement('i'); document.body.append(probe);
  const value = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
  const out = [];
  document.documentElement.style.transition = 'none';
  for (let hue = 0; hue < 360; hue += 15) {
    document.documentElement.style.setProperty('--hue', hue);
    for (const [a, b, least] of [['--text', '--bg', 7], ['--soft', '--bg', 4.5], ['--soft', '--raised', 4.5], ['--soft', '--hover', 4.5],
      ['--accent', '--raised', 4.5], ['--on-accent', '--accent', 4.5], ['--control', '--bg', 3], ['--control', '--raised', 3], ['--wrong', '--raised', 4.5]])
      if (ratio(value(a), value(b)) < least) out.push(`${a} on ${b} at hue ${hue}: ${ratio(value(a), value(b)).toFixed(2)} < ${least}`);
  }
  return out;
}
