// SPDX-License-Identifier: BSD-2-Clause
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "render/flame_svg.h"
#include "render/flame_tree.h"
#include "render/sample_profile.h"

namespace fiberprof {
namespace {

using testing::HasSubstr;
using testing::Not;

const FlameNode* find(const FlameTree& tree, const std::string& name) {
  for (const FlameNode& node : tree.nodes) {
    if (node.name == name) return &node;
  }
  return nullptr;
}

// Children lie inside their parent and do not overlap.
void expect_nested(const FlameTree& tree) {
  std::vector<const FlameNode*> path;
  std::vector<uint64_t> filled;
  for (const FlameNode& node : tree.nodes) {
    path.resize(node.depth);
    filled.resize(node.depth + 1);
    if (node.depth != 0) {
      const FlameNode& parent = *path.back();
      ASSERT_GE(node.start_ns, parent.start_ns);
      ASSERT_LE(node.start_ns + node.total_ns, parent.start_ns + parent.total_ns);
      ASSERT_GE(node.start_ns, filled[node.depth - 1]);
      filled[node.depth - 1] = node.start_ns + node.total_ns;
    }
    filled[node.depth] = node.start_ns;
    path.push_back(&node);
  }
}

TEST(FlameTree, WidthsAreTheTimesRecorded) {
  const FlameTree tree = flame_tree(sample_profile(), {});
  expect_nested(tree);
  EXPECT_EQ(tree.nodes.front().total_ns, 63'000'000'000U);
  EXPECT_EQ(find(tree, "kvd::serve(fiber::Socket&)")->total_ns, 13'000'000'000U);
  EXPECT_EQ(find(tree, "fiber::Mutex::lock()")->total_ns, 10'000'000'000U);
  EXPECT_EQ(find(tree, "[mutex]")->count, 400U);
  EXPECT_EQ(find(tree, "fiber_entry"), nullptr);
  EXPECT_EQ(find(tree, "[futex wait]"), nullptr);  // idle
  EXPECT_EQ(tree.reasons.front(), std::make_pair(std::string("chan receive"), uint64_t{50'000'000'000}));
  EXPECT_DOUBLE_EQ(find(tree, "kvd::serve(fiber::Socket&)")->purity, 10.0 / 13);
}

TEST(FlameTree, KindsChooseWhatCounts) {
  EXPECT_EQ(flame_tree(sample_profile(), {FlameKind::off_cpu}).nodes.front().total_ns, 600'000'000U);
  EXPECT_EQ(flame_tree(sample_profile(), {FlameKind::all}).nodes.front().total_ns, 63'600'000'000U);
  EXPECT_NE(find(flame_tree(sample_profile(), {FlameKind::blocked, true}), "fiber_entry"), nullptr);
}

TEST(FlameTree, TooManyNodesDropTheSmallest) {
  Profile profile = sample_profile();
  for (uint32_t i = 0; i < 1000; ++i) {
    profile.frames.push_back(user_frame("f" + std::to_string(i), "", 0, i));
    Sample sample = profile.samples[0];
    sample.total_ns = i + 1;
    sample.frames = {static_cast<uint32_t>(profile.frames.size() - 1)};
    profile.samples.push_back(sample);
  }
  FlameOptions options;
  options.max_nodes = 100;
  const FlameTree tree = flame_tree(profile, options);
  EXPECT_LE(tree.nodes.size(), 100U);
  EXPECT_GT(tree.left_out, 1900U);
  expect_nested(tree);
  EXPECT_NE(find(tree, "fiber::Mutex::lock()"), nullptr);
}

TEST(FlameTree, RecursionAsDeepAsItGetsIsCut) {
  Profile profile = sample_profile();
  profile.samples[0].frames.assign(4000, 2);
  const FlameTree tree = flame_tree(profile, {});
  EXPECT_LE(tree.depth, 520U);
  expect_nested(tree);
}

TEST(FoldedStacks, OutermostFirstAndTheSumsAreRight) {
  const std::string text = folded_stacks(sample_profile(), {});
  EXPECT_THAT(text, HasSubstr("kvd::serve(fiber::Socket&);kvd::Shard::set(std::string const&, std::string);"
                              "fiber::Mutex::lock();[mutex] 10000000000\n"));
  std::istringstream stream(text);
  uint64_t total = 0;
  for (std::string line; std::getline(stream, line);) total += std::stoull(line.substr(line.rfind(' ') + 1));
  EXPECT_EQ(total, 63'000'000'000U);
}

TEST(FoldedStacks, NamesCannotBreakTheFormat) {
  Profile profile = sample_profile();
  profile.frames[3].function = "evil;\n1;2 3\n";
  EXPECT_THAT(folded_stacks(profile, {}), HasSubstr("evil, 1,2 3"));
}

class FlameSvg : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "fiberprof-flame-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Lets an XML parser read it and check each frame's place; what it prints on failure is the message.
  testing::AssertionResult well_formed(const std::string& svg) const {
    const std::string file = directory_ + "/a.svg", script = directory_ + "/check.py";
    std::ofstream(file) << svg;
    std::ofstream(script) << R"py(
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
ns = '{http://www.w3.org/2000/svg}'
assert root.tag == ns + 'svg', root.tag
width, height = float(root.get('width')), float(root.get('height'))
frames = [g for g in root.iter(ns + 'g') if 'f' in g.get('class', '').split()]
assert frames, 'no frames'
for g in frames:
    rect, text = g.find(ns + 'rect'), g.find(ns + 'text')
    x, y, w, h = (float(rect.get(a)) for a in ('x', 'y', 'width', 'height'))
    assert x >= 0 and x + w <= width + 1 and y >= 0 and y + h <= height, (x, y, w, h)
    assert len(text.text or '') * 7.23 <= w + 1, (text.text, w)
    assert g.find(ns + 'title').text, 'a frame without a title'
assert len(root.findall(ns + 'script')) == 1
for each in root.iter():
    for name, value in each.attrib.items():
        assert not name.startswith('on'), name
        assert 'href' not in name, name
)py";
    FILE* pipe = popen(("python3 " + script + " " + file + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return testing::AssertionFailure() << "cannot run python3";
    std::string output;
    char step[4096];
    while (fgets(step, sizeof step, pipe) != nullptr) output += step;
    const int status = pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return testing::AssertionFailure() << "python3 is needed";
    if (status != 0) return testing::AssertionFailure() << output;
    return testing::AssertionSuccess();
  }

  static std::string draw(const Profile& profile, FlameOptions options = {}, FlameLook look = {}) {
    return flame_svg(profile, flame_tree(profile, options), options.kind, look);
  }

  std::string directory_;
};

TEST_F(FlameSvg, IsWellFormedAndEveryFrameIsInside) {
  EXPECT_TRUE(well_formed(draw(sample_profile())));
  EXPECT_TRUE(well_formed(draw(sample_profile(), {}, {true, 800})));
  EXPECT_TRUE(well_formed(draw(sample_profile(), {FlameKind::all, true})));
  EXPECT_TRUE(well_formed(draw(Profile{})));
}

TEST_F(FlameSvg, SaysWhatItShows) {
  const std::string svg = draw(sample_profile());
  EXPECT_THAT(svg, HasSubstr("pid 12 (kvd) on testhost"));
  EXPECT_THAT(svg, HasSubstr("63.0s blocked"));
  EXPECT_THAT(svg, HasSubstr("chan receive"));
  EXPECT_THAT(svg, HasSubstr("mean 25.0ms"));
  EXPECT_THAT(draw(Profile{}), HasSubstr("No time was spent blocked."));
}

TEST_F(FlameSvg, HostileNamesStayText) {
  const std::string evil = "]]></script><script>alert(1)</script>\x1b[2J\"' onload='x' &\xff\x01\xf0\x9f\x92\xa9 <!--";
  Profile profile = sample_profile();
  for (ProfileFrame& frame : profile.frames) frame.function = frame.file = evil;
  for (Sample& sample : profile.samples) sample.reason = sample.name = sample.process = evil;
  profile.samples[1].pid = 13;  // two processes: their names are drawn too
  profile.target = profile.host = profile.tier = evil;
  const std::string svg = draw(profile);
  EXPECT_TRUE(well_formed(svg));
  EXPECT_THAT(svg, Not(HasSubstr("<script>alert")));
}

}  // namespace
}  // namespace fiberprof
