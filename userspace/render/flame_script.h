// SPDX-License-Identifier: BSD-2-Clause
// The fixed parts of a flame graph's SVG: style and behaviour. Nothing from a target is ever pasted in here; the
// script reads names from the elements' text.
#pragma once

#include <string_view>

namespace fiberprof {

inline constexpr std::string_view kFlameStyle = R"css(
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #4a5160; }
  .paper { fill: #fdfcfa; }
  .title { font-size: 20px; font-weight: 600; fill: #1d2430; }
  .note { fill: #7b8291; }
  .strong { fill: #1d2430; font-weight: 600; }
  .field { fill: #ffffff; stroke: #cfd3da; }
  .rule { stroke: #e4e1da; }
  .f text { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; fill: #1d2430; pointer-events: none; }
  .cap text { font-style: italic; }
  .sep text { font-style: italic; fill: #f7f4ee; }
  .f { cursor: pointer; outline: none; }
  .f:hover rect, .f:focus rect { stroke: #1d2430; stroke-width: 1.5; }
  .below { opacity: .55; }
  .miss { opacity: .22; }
  .hit rect { stroke: #1d2430; stroke-width: 1; }
  .link { cursor: pointer; }
  .link:hover, .link:focus { text-decoration: underline; outline: none; }
  .key { cursor: pointer; outline: none; }
  .key:hover text, .key:focus text { text-decoration: underline; }
  input { box-sizing: border-box; width: 100%; height: 100%; border: 0; padding: 0 10px; margin: 0; outline: none;
          background: transparent; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1d2430; }
  @media (prefers-color-scheme: dark) {
    text { fill: #aab2c0; }
    .paper { fill: #16191f; }
    .title, .strong { fill: #eef1f6; }
    .note { fill: #7f8898; }
    .field { fill: #1f242c; stroke: #3a414d; }
    .rule { stroke: #2a3039; }
    .f:hover rect, .f:focus rect, .hit rect { stroke: #ffffff; }
    input { color: #eef1f6; }
  }
)css";

inline constexpr std::string_view kFlameScript = R"js(
(() => {
  'use strict';
  const svg = document.documentElement;
  if (svg.localName !== 'svg') return;
  const NS = 'http://www.w3.org/2000/svg';
  const $ = id => document.getElementById(id);
  const margin = Number(svg.dataset.margin), row = Number(svg.dataset.row);
  const height = Number(svg.dataset.height);
  let width = Number(svg.dataset.width);

  // The frames, in preorder: a parent stands before its children.
  const nodes = [...document.querySelectorAll('.f')].map(g => {
    const [full, ...rest] = g.querySelector('title').textContent.split('\n');
    return { g, rect: g.querySelector('rect'), label: g.querySelector('text'), full, rest,
             brief: g.dataset.b || full, start: Number(g.dataset.s), total: Number(g.dataset.v),
             depth: Number(g.dataset.d), reason: g.dataset.r, parent: null, children: [] };
  });
  const path = [];
  nodes.forEach((node, i) => {
    path.length = node.depth;
    node.index = i;
    node.parent = path[node.depth - 1] || null;
    if (node.parent) node.parent.children.push(node);
    path.push(node);
  });
  const root = nodes[0];
  let zoomed = root, focused = root, query = '', only = '';

  // Columns: the width of one letter of the font that is really there.
  const probe = document.createElementNS(NS, 'text');
  probe.textContent = 'M'.repeat(100);
  root.g.appendChild(probe);
  const letter = probe.getComputedTextLength() / 100 || 7.3;
  probe.remove();

  function write(node, room) {
    const letters = Math.floor((room - 8) / letter);
    let text = '';
    if (letters >= 4) {
      text = node.brief.length > letters ? node.brief.slice(0, letters - 1) + '…' : node.brief;
    }
    node.label.textContent = text;
    // Wide letters of other scripts: measure and cut until it fits.
    if (/[^\x00-\x7f…]/.test(text)) {
      while (text && node.label.getComputedTextLength() > room - 6) {
        text = text.slice(0, -2);
        node.label.textContent = text && text + '…';
      }
    }
  }

  function layout() {
    const scale = (width - 2 * margin) / Math.max(zoomed.total, 1);
    for (const node of nodes) {
      const end = node.start + node.total;
      const above = node.start >= zoomed.start && end <= zoomed.start + zoomed.total && node.depth >= zoomed.depth;
      const below = node.depth < zoomed.depth && node.start <= zoomed.start && end >= zoomed.start + zoomed.total;
      const w = below ? width - 2 * margin : node.total * scale;
      const shown = (above && w >= 0.3) || below;
      node.g.style.display = shown ? '' : 'none';
      node.g.classList.toggle('below', below);
      if (!shown) continue;
      const x = below ? margin : margin + (node.start - zoomed.start) * scale;
      node.rect.setAttribute('x', x.toFixed(2));
      node.rect.setAttribute('width', Math.max(w - (w > 3 ? 1 : 0), 0.3).toFixed(2));
      node.label.setAttribute('x', (x + 4).toFixed(2));
      write(node, w);
    }
    crumbs();
  }

  function crumbs() {
    const line = $('crumbs');
    line.textContent = '';
    if (zoomed === root) return;
    const trail = [];
    for (let node = zoomed; node; node = node.parent) trail.unshift(node);
    const add = (text, cls, act) => {
      const part = document.createElementNS(NS, 'tspan');
      part.textContent = text;
      part.setAttribute('class', cls);
      if (act) {
        part.setAttribute('tabindex', '0');
        part.setAttribute('role', 'button');
        part.addEventListener('click', act);
        part.addEventListener('keydown', e => { if (e.key === 'Enter') act(); });
      }
      line.appendChild(part);
    };
    add('× reset zoom', 'link strong', () => zoom(root));
    add('   ', 'note');
    const shown = trail.length > 5 ? [trail[0], null, ...trail.slice(-3)] : trail;
    shown.forEach((node, i) => {
      if (i) add('  ›  ', 'note');
      if (!node) return add('…', 'note');
      const most = Math.max(Math.floor((width - 200) / letter / 5), 12);
      const name = node.brief.length > most ? node.brief.slice(0, most - 1) + '…' : node.brief;
      if (node === zoomed) add(name, 'strong'); else add(name, 'link', () => zoom(node));
    });
  }

  function matcher(text) {
    if (!text) return null;
    try {
      const pattern = new RegExp(text, 'i');
      return node => pattern.test(node.full);
    } catch (e) {
      const plain = text.toLowerCase();
      return node => node.full.toLowerCase().includes(plain);
    }
  }

  function percent(part, whole) {
    const p = 100 * part / Math.max(whole, 1);
    return (p > 0 && p < 0.1 ? '<0.1' : p.toFixed(p >= 99.95 ? 0 : 1)) + ' %';
  }

  function search() {
    const match = only ? node => node.reason === only && node.g.classList.contains('cap') : matcher(query);
    let matched = 0, end = -1;
    for (const node of nodes) {
      const hit = match !== null && node !== root && match(node);
      node.hit = hit;
      // Preorder: what lies inside a match already counted begins before its end.
      if (hit && node.start >= end) {
        matched += node.total;
        end = node.start + node.total;
      }
    }
    for (const node of nodes) {
      node.g.classList.toggle('hit', node.hit && !only);
      let relevant = match === null || node.hit;
      node.g.classList.toggle('miss', !relevant);
    }
    // Everything on the way to a match stays readable when a reason is picked.
    if (only) {
      for (const node of nodes) {
        if (!node.hit) continue;
        for (let each = node; each; each = each.parent) each.g.classList.remove('miss');
      }
    }
    $('matched').textContent = match === null ? '' : 'matched: ' + percent(matched, root.total);
  }

  let writing = false;
  function save() {
    const state = new URLSearchParams();
    if (zoomed !== root) state.set('zoom', zoomed.index);
    if (query) state.set('search', query);
    if (only) state.set('reason', only);
    writing = true;
    try { history.replaceState(null, '', '#' + state); } catch (e) { location.hash = state.toString(); }
    setTimeout(() => { writing = false; }, 0);
  }

  function load() {
    if (writing) return;
    const state = new URLSearchParams(location.hash.slice(1));
    zoomed = nodes[Number(state.get('zoom')) || 0] || root;
    query = state.get('search') || '';
    only = state.get('reason') || '';
    if (box) box.value = query;
    layout();
    search();
  }

  function zoom(node) {
    zoomed = node;
    focused = node;
    layout();
    save();
  }

  function tell(node) {
    $('details').textContent = node ? [node.full, ...node.rest].join('   ') : $('details').dataset.hint;
  }

  // The search field: drawn in the picture, made real here.
  const field = $('field');
  const holder = document.createElementNS(NS, 'foreignObject');
  for (const name of ['x', 'y', 'width', 'height']) holder.setAttribute(name, field.getAttribute(name));
  const box = document.createElementNS('http://www.w3.org/1999/xhtml', 'input');
  box.setAttribute('type', 'text');
  box.setAttribute('placeholder', 'Search (Ctrl-F), text or pattern');
  box.setAttribute('aria-label', 'Search for functions');
  holder.appendChild(box);
  field.parentNode.appendChild(holder);
  $('hint').remove();
  box.addEventListener('input', () => { query = box.value; only = ''; search(); save(); });
  box.addEventListener('keydown', e => {
    e.stopPropagation();
    if (e.key === 'Escape') { box.value = query = ''; search(); save(); box.blur(); }
    if (e.key === 'Enter') box.blur();
  });

  for (const node of nodes) {
    node.g.addEventListener('click', () => zoom(node));
    node.g.addEventListener('mouseenter', () => tell(node));
    node.g.addEventListener('mouseleave', () => tell(null));
    node.g.addEventListener('focus', () => { focused = node; tell(node); });
  }
  for (const key of document.querySelectorAll('.key')) {
    const pick = () => {
      only = only === key.dataset.r ? '' : key.dataset.r;
      box.value = query = '';
      search();
      save();
    };
    key.addEventListener('click', pick);
    key.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); pick(); } });
  }

  const up = svg.dataset.inverted ? 'ArrowDown' : 'ArrowUp';
  const down = svg.dataset.inverted ? 'ArrowUp' : 'ArrowDown';
  const visible = node => node && node.g.style.display !== 'none' ? node : null;
  window.addEventListener('keydown', e => {
    if (((e.ctrlKey || e.metaKey) && e.key === 'f') || (e.key === '/' && !e.ctrlKey)) {
      e.preventDefault();
      box.focus();
      box.select();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    let to = null;
    const around = focused.parent ? focused.parent.children.filter(visible) : [focused];
    const at = around.indexOf(focused);
    if (e.key === up) to = focused.children.filter(visible).sort((a, b) => b.total - a.total)[0];
    else if (e.key === down) to = visible(focused.parent);
    else if (e.key === 'ArrowLeft') to = around[at - 1];
    else if (e.key === 'ArrowRight') to = around[at + 1];
    else if (e.key === 'Home') to = zoomed;
    else if (e.key === 'Enter' && document.activeElement === focused.g) return zoom(focused);
    else if (e.key === 'Escape') { only = ''; box.value = query = ''; search(); return zoom(root); }
    else return;
    e.preventDefault();
    if (to) to.g.focus();
  });

  // The legend keeps the lines it has in the picture; what does not fit a narrow window is hidden.
  const keys = [...document.querySelectorAll('.key')].map(g => {
    const square = g.querySelector('rect'), y = Number(square.getAttribute('y'));
    return { g, x: Number(square.getAttribute('x')), y, w: g.getBBox().width + 22 };
  });
  function legend() {
    if (!keys.length) return;
    const first = keys[0].y, last = keys[keys.length - 1].y;
    let x = margin, y = first;
    for (const key of keys) {
      if (x > margin && x + key.w > width - margin) { x = margin; y += 22; }
      key.g.style.display = y > last ? 'none' : '';
      key.g.setAttribute('transform', `translate(${x - key.x},${y - key.y})`);
      x += key.w;
    }
  }

  function resize() {
    const now = Math.max(window.innerWidth, 480);
    const shift = now - width;
    for (const part of document.querySelectorAll('.right')) {
      part.setAttribute('transform', `translate(${now - Number(svg.dataset.width)},0)`);
    }
    for (const line of document.querySelectorAll('.rule')) line.setAttribute('x2', now - margin);
    width += shift;
    svg.setAttribute('width', width);
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    legend();
    layout();
  }
  window.addEventListener('resize', resize);
  window.addEventListener('hashchange', load);
  resize();
  load();
})();
)js";

}  // namespace fiberprof
