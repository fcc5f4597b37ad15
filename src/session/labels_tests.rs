//! Labels and tags from hand-made answers.

use super::*;

const VIEW: View = View { size: PictureSize { width: 200, height: 100 }, left: 0, top: 0 };

fn rules(filter: BoxFilter) -> ScoreRules {
    ScoreRules { tag: false, filter }
}

fn no_rules() -> ScoreRules {
    rules(BoxFilter::default())
}

fn found(label: &str, corners: [f64; 4], score: Option<f64>) -> LabelledBox {
    LabelledBox { label: label.to_owned(), corners, score }
}

fn reply(answer: Answer) -> Reply {
    Reply { ids: vec![], text: String::new(), answer, stop: StopReason::Stop }
}

fn named<'a>(class: Option<&'a str>, task: Task, text: &str, answer: Answer) -> NamedReply<'a> {
    NamedReply { class, asked: TaskText { task, text: text.to_owned() }, reply: reply(answer) }
}

fn read_all(replies: Vec<NamedReply<'_>>, view: View, rules: ScoreRules) -> Findings {
    read_findings(ImageSize { height: 1000, width: 1000 }, replies, view, rules)
}

fn read(boxes: Vec<LabelledBox>, class: Option<&str>, view: View, rules: ScoreRules) -> Vec<Label> {
    let replies = vec![named(class, Task::PhraseGrounding, "", Answer::Boxes(boxes))];
    read_all(replies, view, rules).annotation.objects
}

#[test]
fn labels_are_named_after_their_text_or_the_class() {
    let boxes = vec![found("a cat ", [0.0, 0.0, 9.0, 9.0], None), found("", [0.0, 0.0, 9.0, 9.0], None)];
    let titles =
        |class| read(boxes.clone(), class, VIEW, no_rules()).into_iter().map(|l| l.class_title).collect::<Vec<_>>();
    assert_eq!(titles(None), ["a cat _bbox", "object_bbox"]);
    assert_eq!(titles(Some("Pet")), ["Pet_bbox", "Pet_bbox"]);
    assert_eq!(titles(Some("")), ["object_bbox", "object_bbox"]);
}

#[test]
fn inverted_boxes_go_and_points_and_duplicates_stay() {
    let boxes = vec![
        found("a", [10.0, 0.0, 5.0, 9.0], None),
        found("a", [0.0, 9.0, 5.0, 8.0], None),
        found("a", [5.0, 5.0, 5.0, 5.0], None),
        found("a", [5.0, 5.0, 5.0, 5.0], None),
    ];
    for class in [None, Some("Pet")] {
        assert_eq!(read(boxes.clone(), class, VIEW, no_rules()).len(), 2);
    }
}

#[test]
fn boxes_are_clipped_to_the_view_and_moved_to_its_place() {
    let view = View { left: 30, top: 40, ..VIEW };
    let labels = read(vec![found("a", [-5.0, 2.5, 200.0, 99.9], None)], None, view, no_rules());
    assert_eq!(labels.first().unwrap().geometry.exterior(), [[30, 42], [229, 139]]);
}

#[test]
fn scores_are_shown_and_filter_on_demand() {
    let corners = [0.0, 0.0, 9.0, 9.0];
    let boxes = vec![found("a", corners, Some(0.9)), found("b", corners, Some(0.2)), found("c", corners, None)];
    assert!(read(boxes.clone(), None, VIEW, no_rules()).iter().all(|label| label.tags.is_empty()));
    let filter = BoxFilter { min_score: 0.5, ..BoxFilter::default() };
    let labels = read(boxes, None, VIEW, ScoreRules { tag: true, filter });
    assert_eq!(labels.iter().map(|l| l.class_title.as_str()).collect::<Vec<_>>(), ["a_bbox", "c_bbox"]);
    assert_eq!(labels.first().unwrap().tags, [LabelTag::confidence(0.9)]);
    assert_eq!(labels.last().unwrap().tags, []);
}

#[test]
fn whoever_filters_by_score_sees_it() {
    let tag = |settings: serde_json::Value| {
        let settings = InferenceSettings::parse(settings.as_object().unwrap().clone()).unwrap();
        ScoreRules::from_settings(&settings).tag
    };
    assert!(tag(json!({"conf": 0.1})) && tag(json!({"scores": true})));
    assert!(!tag(json!({})) && !tag(json!({"nms_iou": 0.5, "max_box_area": 0.5, "min_box_px": 5})));
}

#[test]
fn the_answers_for_one_class_are_filtered_together() {
    let corners = [10.0, 10.0, 19.0, 19.0];
    let answers = [("Pet", "cat", 0.4), ("Plant", "tree", 0.3), ("Pet", "dog", 0.5), ("Plant", "bush", 0.3)];
    let labels = |filter| {
        let answers = answers.map(|(class, label, score)| {
            let boxes = Answer::Boxes(vec![found(label, corners, Some(score))]);
            named(Some(class), Task::PhraseGrounding, "", boxes)
        });
        let findings = read_all(answers.into(), VIEW, ScoreRules { tag: true, filter });
        findings
            .annotation
            .objects
            .into_iter()
            .map(|label| (label.class_title, label.tags[0].value.clone()))
            .collect::<Vec<_>>()
    };
    let kept = |label: &str, score: f64| (format!("{label}_bbox"), json!(score));
    let nms = BoxFilter { nms_iou: Some(0.5), ..BoxFilter::default() };
    assert_eq!(labels(nms), [kept("Plant", 0.3), kept("Pet", 0.5)]);
    assert_eq!(labels(BoxFilter::default()).len(), 4);
}

#[test]
fn boxes_are_judged_as_the_labels_show_them() {
    let filter = |min_side_px| rules(BoxFilter { min_side_px, ..BoxFilter::default() });
    let view = View { size: PictureSize { width: 200, height: 1000 }, ..VIEW };
    for x1 in [-3.5, 0.5, 1.5, 9.49, 150.5] {
        for x2 in [151.5, 152.5, 199.4, 199.5, 260.0] {
            let boxes = vec![found("a", [x1, 0.0, x2, 999.0], None)];
            let drawn =
                read(boxes.clone(), None, view, no_rules()).first().unwrap().geometry.bounds().size().width as f64;
            assert_eq!(read(boxes.clone(), None, view, filter(drawn)).len(), 1, "{x1} {x2}");
            assert_eq!(read(boxes, None, view, filter(drawn + 0.1)).len(), 0, "{x1} {x2}");
        }
    }
}

fn square(x: f64) -> Vec<f64> {
    vec![x, 10.0, x + 20.0, 10.0, x + 20.0, 30.0, x, 30.0]
}

fn titles(findings: &Findings) -> Vec<&str> {
    findings.annotation.objects.iter().map(|label| label.class_title.as_str()).collect()
}

#[test]
fn lines_of_text_become_polygons_with_their_words() {
    let quad = |label: &str| Quad { label: label.to_owned(), points: square(10.0).try_into().unwrap() };
    let answer = Answer::Quads(vec![quad("</s>EXIT "), quad("Ausgang äöü")]);
    let findings = read_all(vec![named(None, Task::OcrWithRegion, "", answer)], VIEW, no_rules());
    assert_eq!(titles(&findings), ["text_polygon", "text_polygon"]);
    let tags: Vec<_> = findings.annotation.objects.iter().map(|label| label.tags.clone()).collect();
    assert_eq!(tags, [[LabelTag::text("text", "EXIT")], [LabelTag::text("text", "Ausgang äöü")]]);
    assert_eq!(findings.annotation.objects[0].geometry.exterior(), [[10, 10], [30, 10], [30, 30], [10, 30]]);
}

#[test]
fn outlines_are_named_after_their_label_the_phrase_or_the_class() {
    let instance = |label: &str| Instance { label: label.to_owned(), polygons: vec![square(0.0), square(50.0)] };
    let read = |class, task, text, label| {
        let replies = vec![named(class, task, text, Answer::Instances(vec![instance(label)]))];
        titles(&read_all(replies, VIEW, no_rules())).join(" ")
    };
    let refer = Task::ReferringExpressionSegmentation;
    assert_eq!(read(None, refer, " a green car ", ""), "a green car_polygon a green car_polygon");
    assert_eq!(read(None, refer, "a green car", "car"), "car_polygon car_polygon");
    assert_eq!(read(Some("Vehicle"), refer, "a green car", ""), "Vehicle_polygon Vehicle_polygon");
    let region = Task::RegionToSegmentation;
    assert_eq!(read(None, region, "<loc_1><loc_2><loc_3><loc_4>", ""), "object_polygon object_polygon");
}

#[test]
fn open_vocabulary_gives_boxes_or_outlines() {
    let answer = Answer::BoxesOrInstances {
        boxes: vec![found("cat", [0.0, 0.0, 9.0, 9.0], None)],
        instances: vec![Instance { label: "dog".to_owned(), polygons: vec![square(0.0), vec![1.0, 2.0]] }],
    };
    let findings = read_all(vec![named(None, Task::OpenVocabularyDetection, "cat", answer)], VIEW, no_rules());
    assert_eq!(titles(&findings), ["cat_bbox", "dog_polygon"]);
}

#[test]
fn words_about_the_picture_become_its_tags() {
    let text = |task| {
        let replies = vec![named(None, task, "", Answer::Text(" a cat on a mat ".to_owned()))];
        read_all(replies, VIEW, no_rules()).annotation.tags
    };
    assert_eq!(text(Task::DetailedCaption), [LabelTag::text("caption", "a cat on a mat")]);
    assert_eq!(text(Task::Ocr), [LabelTag::text("ocr", "a cat on a mat")]);
}

#[test]
fn words_about_a_region_become_its_label() {
    let region = "<loc_100><loc_200><loc_300><loc_400>";
    let read = |task, asked: &str, answer: String| {
        read_all(vec![named(None, task, asked, Answer::Text(answer))], VIEW, no_rules()).annotation
    };
    let annotation = read(Task::RegionToCategory, region, format!("car{region}"));
    assert_eq!(annotation.objects[0].class_title, "car_bbox");
    assert_eq!(annotation.objects[0].geometry.exterior(), [[20, 20], [60, 40]]);
    let annotation = read(Task::RegionToDescription, region, "a red car".to_owned());
    assert_eq!(annotation.objects[0].class_title, "a red car_bbox");
    let annotation = read(Task::RegionToOcr, region, format!("STOP{region}"));
    assert_eq!(annotation.objects[0].class_title, "text_bbox");
    assert_eq!(annotation.objects[0].tags, [LabelTag::text("text", "STOP")]);
    let annotation = read(Task::RegionToCategory, "", "car".to_owned());
    assert_eq!((annotation.objects.len(), annotation.tags), (0, vec![LabelTag::text("caption", "car")]));
}

#[test]
fn polygons_are_clipped_moved_and_judged_by_size() {
    let view = View { left: 30, top: 40, ..VIEW };
    let instance =
        Instance { label: "a".to_owned(), polygons: vec![vec![-9.0, -9.0, 400.0, 0.0, 0.0, 400.0], square(5.0)] };
    let replies =
        || vec![named(None, Task::ReferringExpressionSegmentation, "a", Answer::Instances(vec![instance.clone()]))];
    let findings = read_all(replies(), view, no_rules());
    assert_eq!(findings.annotation.objects[0].geometry.exterior(), [[30, 40], [229, 40], [30, 139]]);
    assert_eq!(findings.notes, Map::new());
    let strict = rules(BoxFilter { min_side_px: 21.5, max_area_share: 0.9, ..BoxFilter::default() });
    assert_eq!(read_all(replies(), view, strict).annotation.objects.len(), 0, "the square has 21 pixels a side");
}

#[test]
fn what_was_left_out_is_counted() {
    let boxes = vec![found("a", [0.0, 0.0, 9.0, 9.0], Some(0.9)), found("a", [0.0, 0.0, 9.0, 9.0], Some(0.1))];
    let mut reply = named(None, Task::PhraseGrounding, "", Answer::Boxes(boxes));
    reply.reply.stop = StopReason::Length;
    let filter = BoxFilter { min_score: 0.5, ..BoxFilter::default() };
    let findings = read_all(vec![reply], VIEW, rules(filter));
    assert_eq!(Value::Object(findings.notes), json!({"dropped_boxes": {"low_score": 1}, "truncated_answers": 1}));
}
