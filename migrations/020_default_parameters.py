"""The system parameters every installation starts with.

The framework has nine more, its long prompts, and inserts them itself when it
first reads them; their texts are not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import peewee as pw

from framework_schema.rows import column_names, delete_unchanged, insert_missing

if TYPE_CHECKING:
    from peewee_migrate import Migrator

fills = ["SystemParameters"]

depends_on = ["framework/001_entries", "framework/007_settings"]

PARAMETERS = {
    # Names and looks
    "project_name": "My Awesome Project",
    "entry_singular_label": "Entry",
    "entry_plural_label": "Entries",
    "project_subtitle": "Management System",
    "project_logo_path": "",
    # Labels
    "label_font_size": "10",
    "label_title_font_size": "14",
    "label_include_qr_code": "true",
    "label_include_logo": "false",
    "label_logo_position": "top-left",
    "label_qr_code_prefix": "https://example.com",
    "label_border_style": "simple",
    "label_text_wrap": "true",
    "label_qr_size": "medium",
    "label_qr_position": "right",
    "label_60x30mm_font_size": "8",
    "label_60x30mm_title_font_size": "12",
    "label_60x30mm_border_style": "simple",
    "label_60x30mm_include_qr_code": "true",
    "label_60x30mm_include_logo": "false",
    "label_60x30mm_logo_position": "top-left",
    "label_60x30mm_qr_size": "medium",
    "label_60x30mm_qr_position": "right",
    "label_50x14mm_font_size": "7",
    "label_50x14mm_title_font_size": "10",
    "label_50x14mm_border_style": "none",
    "label_50x14mm_include_qr_code": "false",
    "label_50x14mm_qr_size": "small",
    "label_50x14mm_qr_position": "right",
    "label_40x12mm_font_size": "6",
    "label_40x12mm_title_font_size": "9",
    "label_40x12mm_border_style": "none",
    "label_40x12mm_include_qr_code": "false",
    "label_40x12mm_qr_size": "small",
    "label_40x12mm_qr_position": "right",
    "label_30x15mm_font_size": "7",
    "label_30x15mm_title_font_size": "10",
    "label_30x15mm_border_style": "simple",
    "label_30x15mm_include_qr_code": "true",
    "label_30x15mm_qr_size": "small",
    "label_30x15mm_qr_position": "bottom-right",
    "label_30x12mm_font_size": "6",
    "label_30x12mm_title_font_size": "9",
    "label_30x12mm_border_style": "none",
    "label_30x12mm_include_qr_code": "false",
    "label_30x12mm_qr_size": "small",
    "label_30x12mm_qr_position": "right",
    "label_40x20mm_font_size": "7",
    "label_40x20mm_title_font_size": "10",
    "label_40x20mm_border_style": "simple",
    "label_40x20mm_include_qr_code": "true",
    "label_40x20mm_qr_size": "small",
    "label_40x20mm_qr_position": "right",
    "label_40x24mm_font_size": "8",
    "label_40x24mm_title_font_size": "11",
    "label_40x24mm_border_style": "simple",
    "label_40x24mm_include_qr_code": "true",
    "label_40x24mm_qr_size": "medium",
    "label_40x24mm_qr_position": "right",
    "label_75x12mm_font_size": "7",
    "label_75x12mm_title_font_size": "10",
    "label_75x12mm_border_style": "none",
    "label_75x12mm_include_qr_code": "false",
    "label_75x12mm_qr_size": "small",
    "label_75x12mm_qr_position": "right",
    "label_60x30mm_r90_font_size": "10",
    "label_60x30mm_r90_title_font_size": "14",
    "label_60x30mm_r90_border_style": "simple",
    "label_60x30mm_r90_include_qr_code": "true",
    "label_60x30mm_r90_qr_size": "large",
    "label_60x30mm_r90_qr_position": "top-right",
    "label_50x14mm_r90_font_size": "7",
    "label_50x14mm_r90_title_font_size": "10",
    "label_50x14mm_r90_border_style": "simple",
    "label_50x14mm_r90_include_qr_code": "true",
    "label_50x14mm_r90_qr_size": "small",
    "label_50x14mm_r90_qr_position": "top-right",
    "label_40x12mm_r90_font_size": "6",
    "label_40x12mm_r90_title_font_size": "9",
    "label_40x12mm_r90_border_style": "simple",
    "label_40x12mm_r90_include_qr_code": "true",
    "label_40x12mm_r90_qr_size": "small",
    "label_40x12mm_r90_qr_position": "top-right",
    "label_30x15mm_r90_font_size": "7",
    "label_30x15mm_r90_title_font_size": "10",
    "label_30x15mm_r90_border_style": "simple",
    "label_30x15mm_r90_include_qr_code": "true",
    "label_30x15mm_r90_qr_size": "small",
    "label_30x15mm_r90_qr_position": "top-right",
    # Notes and attachments
    "allowed_file_types": (
        "txt,pdf,png,jpg,jpeg,gif,webp,svg,doc,docx,xls,xlsx,ppt,pptx,mp4,avi,mov,wmv,"
        "flv,webm,mkv,mp3,wav,flac,aac,ogg,zip,rar,7z,tar,gz"
    ),
    "max_file_size": "50",
    "custom_note_types": '{"custom_types":[],"default_prompts":{}}',
    # Searches and boards
    "enable_kanban": "true",
    "default_search_term": "",
    "default_type_filter": "",
    "default_status_filter": "",
    "default_date_range": "",
    "default_sort_by": "created_desc",
    "default_content_display": "",
    "default_result_limit": "10000",
    # Themes
    "theme_color_scheme": "casaos",
    "theme_dark_mode": "false",
    "theme_font_size": "normal",
    "theme_high_contrast": "false",
    "theme_auto_dark_mode": "false",
    "theme_dark_mode_start": "18:00",
    "theme_dark_mode_end": "06:00",
    "theme_section_styles": '{"border_style": "rounded", "spacing": "normal", "background": "subtle"}',
    # Sensors
    "sensor_types": "",
    "enable_sensors": "1",
    # Reminders
    "overdue_check_enabled": "true",
    "overdue_check_schedule": "0 9 * * *",
    # Assistants
    "primary_ai_provider": "gemini",
    "gemini_api_key": "",
    "gemini_model_name": "gemini-1.5-flash",
    "ollama_base_url": "http://localhost:11434",
    "ollama_model_name": "llama3.2:latest",
    "groq_model_name": "llama-3.3-70b-versatile",
    "groq_api_key": "",
    "huggingface_api_key": "",
    "huggingface_model": "stabilityai/stable-diffusion-xl-base-1.0",
    "huggingface_image_size": "1024x576",
    # Strava
    "strava_enabled": "false",
    "strava_client_id": "",
    "strava_client_secret": "",
    "strava_refresh_token": "",
    "strava_sync_enabled": "false",
    "strava_sync_schedule": "0 */6 * * *",
    "strava_activity_mapping": "{}",
    "strava_field_mapping": "{}",
    # Apple Health
    "apple_health_enabled": "false",
    "apple_health_api_key": "",
    "apple_health_source_url": "",
    "apple_health_source_token": "",
    "apple_health_sync_enabled": "false",
    "apple_health_sync_schedule": "0 */6 * * *",
    "apple_health_last_sync_timestamp": "",
    "apple_health_last_payload": "{}",
    "apple_health_last_source": "",
    # 3D printers
    "anycubic_enabled": "false",
    "anycubic_printer_model": "",
    "anycubic_api_type": "kobra2_local",
    "anycubic_printer_ip": "",
    "anycubic_printer_port": "80",
    "anycubic_api_key": "",
    "anycubic_polling_enabled": "false",
    "anycubic_polling_interval": "30",
    "anycubic_auto_create_entries": "false",
    "anycubic_fetch_file": "false",
    "anycubic_entry_type_id": "",
    "anycubic_field_mapping": "{}",
    # Git
    "git_integration_enabled": "0",
    "git_provider": "",
    "git_token": "",
    "gitlab_url": "https://gitlab.com",
}


def migrate(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if fake:
        return
    legacy = _is_legacy(database)
    if legacy:
        _take_over(database)
    insert_missing(database, "SystemParameters", ["parameter_name"], _rows(legacy))


def rollback(migrator: Migrator, database: pw.Database, *, fake: bool = False) -> None:
    if not fake:
        delete_unchanged(database, "SystemParameters", _rows(_is_legacy(database)))


def _is_legacy(database: pw.Database) -> bool:
    """Tell whether the table still has the columns it had in July 2025."""
    return column_names(database, "SystemParameters") >= {"id", "key", "value"}


def _take_over(database: pw.Database) -> None:
    """Give the rows of July 2025 their present names; of two with the same key, the newer."""
    table = pw.Table("SystemParameters").bind(database)
    rows = table.select(table.c.id, table.c.key, table.c.value, table.c.parameter_name)
    found = list(rows.order_by(table.c.id.desc()).tuples())
    taken = {name for *_, name in found if name is not None}
    for number, key, value, name in found:
        if name is None and key is not None and key not in taken:
            row = table.update(parameter_name=key, parameter_value=value)
            row.where(table.c.id == number).execute()
        taken.add(key)


def _rows(legacy: bool) -> list[dict[str, str]]:
    """Return the default rows, with the columns the table has."""
    rows = [{"parameter_name": name, "parameter_value": value} for name, value in PARAMETERS.items()]
    if legacy:
        for row in rows:
            row |= {"key": row["parameter_name"], "value": row["parameter_value"]}
    return rows
