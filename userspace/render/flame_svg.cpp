// SPDX-License-Identifier: BSD-2-Clause
#include "render/flame_svg.h"

#include <algorithm>
#include <cstdio>

#include "render/flame_script.h"
#include "render/palette.h"
#include "render/stack_view.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr double kMargin = 16;
constexpr double kRow = 19;       // height of a frame, with the gap
constexpr double kLetter = 7.23;  // advance of DejaVu Sans Mono at 12 px; browsers measure their own
constexpr double kLegendTop = 74, kLegendRow = 22;
constexpr double kPillLetter = 6.9;  // generous: the legend is set in a proportional face
constexpr double kNarrowest = 0.3;   // px; narrower frames exist for zooming only
constexpr Colour kPaper = {0xf3, 0xee, 0xe4};
constexpr Colour kSeparator = {0x4a, 0x55, 0x68};  // and, pale, those who end waits: no reason has a colour like it

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

// A word for what the width of a frame means.
const char* noun(FlameKind kind) {
  switch (kind) {
    case FlameKind::blocked:
      return "blocked";
    case FlameKind::off_cpu:
      return "off CPU";
    case FlameKind::all:
      return "blocked or off CPU";
    case FlameKind::cpu:
      return "on CPU";
  }
  return "blocked";
}

// What was counted, one of it.
const char* counted(FlameKind kind) {
  return kind == FlameKind::blocked ? "wait" : kind == FlameKind::cpu ? "sample" : "time";
}

class Picture {
 public:
  Picture(const Profile& profile, const FlameTree& tree, FlameKind kind, const FlameLook& look)
      : profile_(profile), tree_(tree), kind_(kind), look_(look), root_(tree.nodes.front()) {
    for (const FlameNode& node : tree.nodes) wakers_ |= node.role == FlameRole::separator;
  }

  std::string run() {
    const std::string keys = legend();
    top_ = kLegendTop + legend_rows_ * kLegendRow + 26;  // the breadcrumbs stand in between
    bottom_ = top_ + (tree_.depth + 1) * kRow;
    height_ = bottom_ + 44;
    open();
    head();
    out_ += keys;
    out_ += "<text id=\"crumbs\" x=\"" + number(kMargin) + "\" y=\"" + number(top_ - 10) + "\"></text>\n";
    if (root_.total_ns == 0) {
      text("note", look_.width / 2.0, top_ + 14, std::string("No time was spent ") + noun(kind_) + ".", "middle");
    }
    for (const FlameNode& node : tree_.nodes) frame(node);
    foot();
    out_ += "<script type=\"text/javascript\"><![CDATA[" + std::string(kFlameScript) + "]]></script>\n</svg>\n";
    return std::move(out_);
  }

 private:
  void open() {
    const std::string width = std::to_string(look_.width), height = number(height_);
    out_ += "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n";
    out_ += "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"" + width + "\" height=\"" + height +
            "\" viewBox=\"0 0 " + width + " " + height + "\" data-width=\"" + width + "\" data-height=\"" + height +
            "\" data-margin=\"" + number(kMargin) + "\" data-row=\"" + number(kRow) + "\"" +
            (look_.inverted ? " data-inverted=\"1\"" : "") + ">\n";
    out_ += "<title>" + xml_escape(title()) + "</title>\n";
    out_ += "<style><![CDATA[" + std::string(kFlameStyle) + "]]></style>\n";
    out_ += "<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"#fdfcfa\"/>\n";
  }

  std::string title() const {
    switch (kind_) {
      case FlameKind::blocked:
        return wakers_ ? "Where fibers were blocked, and who ended it" : "Where fibers were blocked";
      case FlameKind::off_cpu:
        return "Where the kernel took fibers off the CPU";
      case FlameKind::all:
        return "Where fibers were blocked or taken off the CPU";
      case FlameKind::cpu:
        return "What fibers ran on the CPU";
    }
    return "";
  }

  void text(const char* css, double x, double y, const std::string& content, const char* anchor = "start",
            const std::string& more = "") {
    out_ += "<text class=\"" + std::string(css) + "\" x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" +
            anchor + "\"" + more + ">" + xml_escape(content) + "</text>\n";
  }

  void head() {
    text("title", kMargin, 36, title());
    std::string line = profile_.target;
    if (!profile_.host.empty()) line += " on " + profile_.host;
    line += "  ·  " + format_duration(root_.total_ns) + " " + noun(kind_) + ", " + format_count(root_.count) + " " +
            counted(kind_) + "s";
    line += "  ·  " + format_duration(profile_.duration_ns) + " recorded";
    if (!profile_.tier.empty()) line += ", " + profile_.tier;
    text("note", kMargin, 57, fit(sanitize(line), 130));
    const double right = look_.width - kMargin;
    out_ += "<g class=\"right\">\n<rect id=\"field\" class=\"field\" x=\"" + number(right - 250) +
            "\" y=\"16\" width=\"250\" height=\"28\" rx=\"6\" fill=\"#ffffff\" stroke=\"#cfd3da\"/>\n";
    text("note", right - 239, 34, "Search (Ctrl-F)", "start", " id=\"hint\"");
    text("strong", right, 60, "", "end", " id=\"matched\"");
    out_ += "</g>\n";
  }

  // Reasons, longest first, each a coloured square with its share; as many lines as it takes, at most three.
  std::string legend() {
    std::string keys;
    double x = kMargin;
    legend_rows_ = 1;
    for (const auto& [reason, total] : tree_.reasons) {
      const std::string label = fit(sanitize(reason), 32) + "  " + format_share(total, root_.total_ns);
      const double width = 30 + static_cast<double>(display_width(label)) * kPillLetter;
      if (x + width > look_.width - kMargin && x > kMargin) {
        if (legend_rows_ == 3) break;
        x = kMargin;
        ++legend_rows_;
      }
      const double y = kLegendTop + (legend_rows_ - 1) * kLegendRow;
      keys += "<g class=\"key\" tabindex=\"0\" role=\"button\" data-r=\"" + xml_escape(reason) + "\"><rect x=\"" +
              number(x) + "\" y=\"" + number(y) + "\" width=\"13\" height=\"13\" rx=\"3\" fill=\"" +
              hex(reason_colour(reason)) + "\"/><text x=\"" + number(x + 19) + "\" y=\"" + number(y + 11) + "\">" +
              xml_escape(label) + "</text></g>\n";
      x += width;
    }
    return keys;
  }

  // Frames pale, what was waited for in full colour on top: the eye finds the reason first. A frame whose time has
  // several reasons fades towards paper.
  static std::string fill(const FlameNode& node) {
    if (node.depth == 0) return hex(blend({0x9a, 0xa3, 0xb2}, kPaper, 0.45));
    if (node.role == FlameRole::separator) return hex(kSeparator);
    if (node.role == FlameRole::waker) return hex(blend(kSeparator, kPaper, 0.22));
    const Colour colour = reason_colour(node.reason);
    return hex(node.role == FlameRole::reason ? colour : blend(colour, kPaper, 0.16 + 0.42 * node.purity));
  }

  std::string facts(const FlameNode& node) const {
    std::string line = format_duration(node.total_ns) + " " + noun(kind_) + "\n" +
                       format_share(node.total_ns, root_.total_ns) + " of all\n" + format_count(node.count) + " " +
                       counted(kind_) + (node.count == 1 ? "" : "s");
    if (kind_ == FlameKind::cpu) return line;
    if (node.count != 0) {
      line += "\nmean " + format_duration(node.total_ns / node.count) + "\nlongest " + format_duration(node.max_ns);
    }
    if (node.role == FlameRole::function && node.depth != 0 && !node.reason.empty()) {
      line += "\n" + std::string(node.purity > 0.9995 ? "" : "mostly ") + sanitize(node.reason);
    }
    return line;
  }

  static const char* css(FlameRole role) {
    if (role == FlameRole::separator) return " sep";
    return role == FlameRole::reason ? " cap" : "";
  }

  bool is_function(const FlameNode& node) const {
    return (node.role == FlameRole::function || node.role == FlameRole::waker) && node.depth != 0 &&
           !(node.depth == 1 && tree_.by_process);
  }

  void frame(const FlameNode& node) {
    const double all = std::max<double>(static_cast<double>(root_.total_ns), 1);
    const double scale = (look_.width - 2 * kMargin) / all;
    const double x = kMargin + static_cast<double>(node.start_ns) * scale;
    const double width = root_.total_ns == 0 ? look_.width - 2 * kMargin : static_cast<double>(node.total_ns) * scale;
    const double y = look_.inverted ? top_ + node.depth * kRow : bottom_ - (node.depth + 1) * kRow;
    const std::string name =
        node.role == FlameRole::reason ? sanitize(node.name.substr(1, node.name.size() - 2)) : sanitize(node.name);
    const std::string brief = is_function(node) ? display_name(node.name) : name;
    const bool hidden = width < kNarrowest;
    out_ += "<g class=\"f" + std::string(css(node.role)) + "\" tabindex=\"-1\" data-s=\"" +
            std::to_string(node.start_ns) + "\" data-v=\"" + std::to_string(node.total_ns) + "\" data-d=\"" +
            std::to_string(node.depth) + "\" data-r=\"" + xml_escape(node.reason) + "\"" +
            (brief == name ? "" : " data-b=\"" + xml_escape(brief) + "\"") + (hidden ? " style=\"display:none\"" : "") +
            ">";
    out_ += "<title>" + xml_escape(name) + "\n" + (node.place.empty() ? "" : xml_escape(node.place) + "\n") +
            xml_lines(facts(node)) + "</title>";
    out_ += "<rect x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" +
            number(std::max(width - (width > 3 ? 1 : 0), kNarrowest)) + "\" height=\"" + number(kRow - 1) +
            "\" rx=\"2\" fill=\"" + fill(node) + "\"/>";
    const double letters = (width - 8) / kLetter;
    out_ += "<text x=\"" + number(x + 4) + "\" y=\"" + number(y + 13.5) + "\">" +
            (letters < 4 ? "" : xml_escape(fit(brief, static_cast<size_t>(letters)))) + "</text></g>\n";
  }

  static std::string xml_lines(const std::string& lines) {
    std::string text;
    size_t begin = 0;
    for (;;) {
      const size_t end = lines.find('\n', begin);
      text += xml_escape(lines.substr(begin, end - begin));
      if (end == std::string::npos) return text;
      text += "\n";
      begin = end + 1;
    }
  }

  void foot() {
    const double y = bottom_ + 16;
    out_ += "<line class=\"rule\" x1=\"" + number(kMargin) + "\" x2=\"" + number(look_.width - kMargin) + "\" y1=\"" +
            number(y - 7) + "\" y2=\"" + number(y - 7) + "\" stroke=\"#e4e1da\"/>\n";
    const std::string from = look_.inverted ? "Top" : "Bottom", to = look_.inverted ? "bottom" : "top";
    std::string hint = "Width: time " + std::string(noun(kind_)) + ".  " + from + ": where a fiber begins; " + to +
                       ": what it waits for" +
                       (wakers_ ? ", then who ended that (grey, turned round), and why not earlier" : "") +
                       ".  Colour: the reason; pale where several meet.";
    if (tree_.left_out != 0) hint += "  " + format_count(tree_.left_out) + " frames too small to draw.";
    text("note", kMargin, y + 12, hint, "start", " id=\"details\" data-hint=\"" + xml_escape(hint) + "\"");
  }

  const Profile& profile_;
  const FlameTree& tree_;
  FlameKind kind_;
  const FlameLook& look_;
  const FlameNode& root_;
  bool wakers_ = false;
  unsigned legend_rows_ = 1;
  double top_ = 0, bottom_ = 0, height_ = 0;
  std::string out_;
};

}  // namespace

std::string flame_svg(const Profile& profile, const FlameTree& tree, FlameKind kind, const FlameLook& look) {
  return Picture(profile, tree, kind, look).run();
}

}  // namespace fiberprof
