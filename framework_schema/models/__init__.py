"""The framework's tables as Peewee models, one subject a file.

They reach the database of the current Flask app, or the one given to ``database.initialize``;
see ``base``. ``MODELS`` holds them all, a table after those it refers to.
"""

from __future__ import annotations

from framework_schema.models.base import CurrentDatabase, FrameworkModel, NoDatabase, database
from framework_schema.models.custom_columns import CustomColumn, CustomColumnAssignment, CustomColumnValue
from framework_schema.models.dashboards import AISummaryCache, Dashboard, DashboardWidget
from framework_schema.models.devices import DeviceEntryLinks, DeviceSensorMapping, RegisteredDevices
from framework_schema.models.entries import Entry, EntryState, EntryType
from framework_schema.models.form_fields import EntryTypeFormField
from framework_schema.models.git import GitBranch, GitCommit, GitRepository
from framework_schema.models.kanban import KanbanBoard, KanbanColumn
from framework_schema.models.layouts import (
    EntryLayoutSection,
    EntryLayoutTab,
    EntryTypeLayout,
    RelationshipGridOrder,
    SectionRelationshipPreference,
)
from framework_schema.models.media import EntryDrawioDiagram, EntryPhotoGalleryConfig
from framework_schema.models.metrics import EntryDataPoint, EntryMetric
from framework_schema.models.milestones import EntryStateMilestone
from framework_schema.models.notes import Note, NoteBinding, NoteEntry, NoteEntryRelationship
from framework_schema.models.notifications import Notification, NotificationRule
from framework_schema.models.relationships import (
    EntryRelationship,
    EntryTypeRelationship,
    RelationshipDefinition,
    TemplateRelationshipSharing,
)
from framework_schema.models.saved_searches import SavedSearch
from framework_schema.models.schema_migrations import SchemaMigration
from framework_schema.models.sensor_data import (
    SensorData,
    SensorDataEntryLinks,
    SensorDataEntryRanges,
    SensorDataRangeFunctions,
    SharedSensorData,
)
from framework_schema.models.sensors import (
    ScriptLibrary,
    SensorCommandQueue,
    SensorLogs,
    SensorRegistration,
    SensorScripts,
    SensorTelemetry,
    SensorVariables,
)
from framework_schema.models.settings import SystemParameters, ThemeSettings, UserPreferences
from framework_schema.models.units import Unit

MODELS: tuple[type[FrameworkModel], ...] = (
    EntryType,
    EntryState,
    Entry,
    RelationshipDefinition,
    EntryRelationship,
    EntryTypeRelationship,
    TemplateRelationshipSharing,
    Note,
    NoteEntry,
    NoteEntryRelationship,
    NoteBinding,
    Dashboard,
    DashboardWidget,
    AISummaryCache,
    SavedSearch,
    KanbanBoard,
    KanbanColumn,
    SystemParameters,
    UserPreferences,
    ThemeSettings,
    Notification,
    NotificationRule,
    EntryTypeLayout,
    EntryLayoutTab,
    EntryLayoutSection,
    RelationshipGridOrder,
    SectionRelationshipPreference,
    EntryPhotoGalleryConfig,
    EntryDrawioDiagram,
    EntryTypeFormField,
    CustomColumn,
    CustomColumnAssignment,
    CustomColumnValue,
    EntryStateMilestone,
    EntryMetric,
    EntryDataPoint,
    SensorRegistration,
    SensorScripts,
    ScriptLibrary,
    SensorCommandQueue,
    SensorLogs,
    SensorTelemetry,
    SensorVariables,
    SensorData,
    SharedSensorData,
    SensorDataEntryRanges,
    SensorDataEntryLinks,
    SensorDataRangeFunctions,
    RegisteredDevices,
    DeviceEntryLinks,
    DeviceSensorMapping,
    GitRepository,
    GitCommit,
    GitBranch,
    Unit,
    SchemaMigration,
)

__all__ = [
    "MODELS",
    "AISummaryCache",
    "CurrentDatabase",
    "CustomColumn",
    "CustomColumnAssignment",
    "CustomColumnValue",
    "Dashboard",
    "DashboardWidget",
    "DeviceEntryLinks",
    "DeviceSensorMapping",
    "Entry",
    "EntryDataPoint",
    "EntryDrawioDiagram",
    "EntryLayoutSection",
    "EntryLayoutTab",
    "EntryMetric",
    "EntryPhotoGalleryConfig",
    "EntryRelationship",
    "EntryState",
    "EntryStateMilestone",
    "EntryType",
    "EntryTypeFormField",
    "EntryTypeLayout",
    "EntryTypeRelationship",
    "FrameworkModel",
    "GitBranch",
    "GitCommit",
    "GitRepository",
    "KanbanBoard",
    "KanbanColumn",
    "NoDatabase",
    "Note",
    "NoteBinding",
    "NoteEntry",
    "NoteEntryRelationship",
    "Notification",
    "NotificationRule",
    "RegisteredDevices",
    "RelationshipDefinition",
    "RelationshipGridOrder",
    "SavedSearch",
    "SchemaMigration",
    "ScriptLibrary",
    "SectionRelationshipPreference",
    "SensorCommandQueue",
    "SensorData",
    "SensorDataEntryLinks",
    "SensorDataEntryRanges",
    "SensorDataRangeFunctions",
    "SensorLogs",
    "SensorRegistration",
    "SensorScripts",
    "SensorTelemetry",
    "SensorVariables",
    "SharedSensorData",
    "SystemParameters",
    "TemplateRelationshipSharing",
    "ThemeSettings",
    "Unit",
    "UserPreferences",
    "database",
]
