#include <catch2/catch.hpp>

#include "launch/report/report.hpp"
#include "launch/report/svg_chart.hpp"

using namespace tracewise;

TEST_CASE("the page escapes text and needs no network") {
  Report report;
  report.title = "a <b> & \"c\"";
  report.paragraphs = {"1 < 2"};
  report.table = {{"method"}, {{"<script>"}}, "note"};
  report.runs = {{"GRPO", {{0, 0.3, 50}, {10, 0.8, 60}}}};
  report.rollouts = {{"before", "3+8=\n", "1", 1.0, {{"3+8=1\n", 0.2, 0.9}, {"ans 1", 0.9, 1.0}}}};
  const std::string html = report_html(report);
  CHECK(html.find("a &lt;b&gt; &amp; &quot;c&quot;") != std::string::npos);
  CHECK(html.find("<script>") == std::string::npos);
  CHECK(html.find("1 &lt; 2") != std::string::npos);
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("})
    CHECK(html.find(outside) == std::string::npos);
  CHECK(html.find("0.90") != std::string::npos);   // V after the first step
  CHECK(html.find("+0.70") != std::string::npos);  // what it gained
  CHECK(html == report_html(report));
}

TEST_CASE("a chart puts its points where its axes say") {
  // x from 0 to 10 over [52, 508], y from 0 to 1 over [256, 34].
  const std::string svg = chart_svg({"t", "x", "y", {{"a", {{0, 0}, {10, 1}, {5, 0.5}}}}, true});
  CHECK(svg.find("points=\"52.0,256.0 508.0,34.0 280.0,145.0 \"") != std::string::npos);
  CHECK(svg.find("<title>a: 0.5 at 5</title>") != std::string::npos);
}

TEST_CASE("values are coloured from red over yellow to green") {
  CHECK(value_colour(0) == "hsl(0 70% 45%)");
  CHECK(value_colour(0.5) == "hsl(65 70% 45%)");
  CHECK(value_colour(1) == "hsl(130 70% 45%)");
  CHECK(value_colour(7) == "hsl(130 70% 45%)");
}
