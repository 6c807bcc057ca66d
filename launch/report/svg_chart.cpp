#include "launch/report/svg_chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace tracewise {
namespace {

constexpr double kWidth = 520, kHeight = 300, kLeft = 52, kRight = 12, kTop = 34, kBottom = 44;

// Okabe and Ito's colours, told apart by colour-blind readers too.
constexpr std::array<const char*, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#e69f00", "#56b4e9", "#8a8a8a"};

std::string format(const char* pattern, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

// 1, 2 or 5 times a power of ten, so that about `ticks` of them reach `range`.
double tick_step(double range, int ticks) {
  const double rough = range / ticks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

struct Scale {
  double low, high, from, to;
  double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor) +
         escape_html(text) + "</text>\n";
}

std::string axes(const Chart& chart, const Scale& x, const Scale& y) {
  std::string svg;
  const double y_step = chart.unit_interval ? 0.2 : tick_step(y.high, 5);
  for (double v = 0; v <= y.high * 1.0001; v += y_step) {
    svg += format("<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
                  x.from, x.to, y.at(v), y.at(v));
    svg += text_at(x.from - 6, y.at(v) + 4, "end", short_number(v, 2));
  }
  const double x_step = tick_step(x.high, 6);
  for (double v = 0; v <= x.high * 1.0001; v += x_step)
    svg += text_at(x.at(v), y.from + 16, "middle", short_number(v, 2));
  svg += text_at((x.from + x.to) / 2, y.from + 34, "middle", chart.x_label);
  svg += text_at(x.from - 40, y.to - 10, "start", chart.y_label);
  return svg;
}

std::string line_svg(const ChartLine& line, const char* colour, const Scale& x, const Scale& y) {
  std::string path, dots;
  for (const auto& [px, py] : line.points) {
    path += format("%.1f,%.1f ", x.at(px), y.at(py));
    dots += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>", x.at(px),
                   y.at(py), colour) +
            escape_html(line.name) +
            format(": %s at %s", short_number(py, 3).c_str(), short_number(px, 1).c_str()) +
            "</title></circle>\n";
  }
  return "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" + std::string(colour) +
         "\" points=\"" + path + "\"/>\n" + dots;
}

std::string legend(const Chart& chart) {
  std::string svg;
  double x = kLeft;
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    svg += format("<rect x=\"%.1f\" y=\"6\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x,
                  kColours[i % kColours.size()]);
    svg += text_at(x + 14, 15, "start", chart.lines[i].name);
    x += 30 + 6.6 * static_cast<double>(chart.lines[i].name.size());
  }
  return svg;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string short_number(double value, int decimals) {
  std::string text = format("%.*f", decimals, value);
  if (text.find('.') == std::string::npos) return text;
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string chart_svg(const Chart& chart) {
  double x_high = 0, y_high = 0;
  for (const ChartLine& line : chart.lines) {
    for (const auto& [px, py] : line.points) {
      x_high = std::max(x_high, px);
      y_high = std::max(y_high, py);
    }
  }
  const Scale x{0, x_high > 0 ? x_high : 1, kLeft, kWidth - kRight};
  const Scale y{0, chart.unit_interval ? 1 : (y_high > 0 ? y_high * 1.05 : 1), kHeight - kBottom,
                kTop};
  std::string svg =
      format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", kWidth, kHeight) +
      escape_html(chart.title) + "\">\n" + axes(chart, x, y);
  for (size_t i = 0; i < chart.lines.size(); ++i)
    svg += line_svg(chart.lines[i], kColours[i % kColours.size()], x, y);
  return svg + legend(chart) + "</svg>\n";
}

}  // namespace tracewise
